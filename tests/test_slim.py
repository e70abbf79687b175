"""Runs without optimizer states: as good as before, but not to go on with."""

import shutil

import numpy as np
import pytest

import aae_mx
from aae_mx.commands import evaluate, slim
from aae_mx.data import load_dataset
from aae_mx.errors import InputError
from aae_mx.runs.checkpoint import checkpoints


@pytest.fixture
def copy(supervised_run, tmp_path):
    shutil.copytree(supervised_run, tmp_path / "run")
    return tmp_path / "run"


def test_slim(call, copy, supervised_run):
    before = sum(file.stat().st_size for file in checkpoints(copy))
    status, output = call(slim.main, copy)
    (file,) = checkpoints(copy)
    after = file.stat().st_size
    assert status == 0 and file.name == "checkpoint-00002-0000000.npz"
    sizes = f"checkpoints of {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now"
    assert output == f"{copy}: {sizes}\n"
    # Of the two checkpoints each had the weights, and two numbers for each in every Adam.
    assert after < before / 6
    with np.load(file, allow_pickle=False) as arrays:
        assert not [name for name in arrays.files if name.startswith("adam")]

    model, slimmed = aae_mx.load(supervised_run), aae_mx.load(copy)
    images = load_dataset(model.config).test_images
    np.testing.assert_array_equal(slimmed.encode(images), model.encode(images))
    assert slimmed.epoch == 2
    assert call(evaluate.main, copy, "--images", 50)[0] == 0
    # Once more changes nothing.
    content = file.read_bytes()
    assert call(slim.main, copy)[0] == 0
    assert aae_mx.load(copy).epoch == 2 and len(file.read_bytes()) == len(content)


def test_it_cannot_go_on(refused, copy):
    from aae_mx import train

    slim.slim(copy)
    for options in ([], ["--epochs", 3]):
        message = refused(train.main, "--resume", copy, *options, "--no-figures", code=1)
        assert "its optimizer states were removed by aae_mx.slim, so it cannot go on" in message


def test_unfinished_runs_are_refused(call, refused, copy):
    checkpoints(copy)[-1].unlink()
    message = refused(slim.main, copy, code=1)
    assert "it has finished 1 of 2 epochs" in message and f"--resume {copy}" in message
    assert len(checkpoints(copy)) == 1 and aae_mx.resume(copy, quiet=True).epoch == 2
    checkpoints(copy)[-1].unlink()
    assert call(slim.main, copy, "--force")[0] == 0
    assert aae_mx.load(copy).epoch == 1


def test_no_run_and_no_checkpoint(refused, copy, tmp_path):
    assert "no run here" in refused(slim.main, tmp_path, code=1)
    assert not (tmp_path / ".lock").exists()
    shutil.rmtree(copy / "checkpoints")
    assert "no checkpoint" in refused(slim.main, copy, code=1)


def test_there_is_a_whole_checkpoint_at_any_moment(copy, monkeypatch):
    """Broken off after the new one was written, and before."""

    def gone(path, *arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", gone)
        with pytest.raises(KeyboardInterrupt):
            slim.slim(copy)
    assert aae_mx.load(copy).epoch == 2
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", gone)
        with pytest.raises(KeyboardInterrupt):
            slim.slim(copy)
    assert aae_mx.load(copy).epoch == 2
    slim.slim(copy)
    assert [file.name for file in (copy / "checkpoints").iterdir()] == [checkpoints(copy)[0].name]


@pytest.mark.parametrize("name", ["adam/encoder/steps", "encoder/layers.0.bias"])
def test_nothing_between_whole_and_slim(copy, name):
    """A checkpoint with some of the optimizers' arrays, or without all weights."""
    file = checkpoints(copy)[-1]
    with np.load(file) as arrays:
        arrays = dict(arrays)
    del arrays[name]
    np.savez(file, **arrays)
    with pytest.raises(InputError, match=f"the array '{name}.npy' is missing"):
        aae_mx.load(copy)
