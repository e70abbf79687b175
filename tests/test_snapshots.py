import shutil
import signal

import numpy as np
import pytest
from conftest import small_config, small_options
from PIL import Image
from test_resume import stop_after

import aae_mx
from aae_mx import train
from aae_mx.commands import plot
from aae_mx.data import load_dataset
from aae_mx.errors import InputError, Interrupted
from aae_mx.report import plotting
from aae_mx.runs.history import read_history
from aae_mx.runs.snapshots import read_snapshots, snapshots
from aae_mx.training import batches

CONFIG = small_config(prior="swiss_roll", labels="all", epochs=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with snapshots."""
    path = tmp_path_factory.mktemp("runs") / "run"
    aae_mx.fit(CONFIG, path, quiet=True, snapshots=True)
    return path


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    return tmp_path / "copy"


def test_codes_of_every_epoch(run, tmp_path):
    kept = read_snapshots(run, 300, 2)
    assert list(kept) == [0, 1, 2, 3]
    images = load_dataset(CONFIG).test_images
    before = aae_mx.model.AAE(CONFIG, (28, 28), tuple("0123456789"))
    np.testing.assert_array_equal(kept[0], before.encode(images))
    np.testing.assert_array_equal(kept[3], aae_mx.load(run).encode(images))
    assert all(np.abs(kept[epoch] - kept[epoch + 1]).max() > 1e-3 for epoch in range(3))
    # They change nothing of the training, and their files are plain arrays.
    aae_mx.fit(CONFIG, tmp_path / "without", quiet=True)
    assert not (tmp_path / "without/snapshots").exists()
    np.testing.assert_array_equal(aae_mx.load(tmp_path / "without").encode(images), kept[3])
    array = np.load(run / "snapshots/epoch-00003.npy", allow_pickle=False)
    assert array.dtype == np.float32 and array.shape == (300, 2)


def test_stopped_and_resumed_has_no_gap_and_no_double(run, tmp_path, monkeypatch):
    """Stopped in the first epoch, and in the third with a checkpoint of the second only."""
    stopped = tmp_path / "stopped"
    steps = batches.steps_per_epoch(aae_mx.model.AAE(CONFIG, (28, 28), "0123456789").mode, 300)
    with monkeypatch.context() as patch:
        stop_after(patch, 2, signal.SIGINT)
        with pytest.raises(Interrupted):
            aae_mx.fit(CONFIG, stopped, quiet=True, snapshots=True)
    assert list(snapshots(stopped)) == [0]
    with monkeypatch.context() as patch:
        stop_after(patch, 2 * steps, signal.SIGINT)
        with pytest.raises(Interrupted):
            aae_mx.resume(stopped, quiet=True)
    aae_mx.resume(stopped, quiet=True)
    left, right = read_snapshots(run, 300, 2), read_snapshots(stopped, 300, 2)
    assert list(left) == list(right)
    for epoch in left:
        np.testing.assert_array_equal(left[epoch], right[epoch])


def test_what_a_lost_checkpoint_leaves_is_made_again(copy):
    """Back to epoch 2 by hand, and then another third epoch, of a longer training."""
    sorted((copy / "checkpoints").iterdir())[-1].unlink()
    (copy / "snapshots/epoch-00009.npy").write_bytes(b"of a future that is gone")
    before = read_snapshots_of(copy, 3)
    aae_mx.resume(copy, epochs=4, quiet=True)
    assert list(snapshots(copy)) == [0, 1, 2, 3, 4] and read_history(copy)["epoch"] == [1, 2, 3, 4]
    assert np.abs(read_snapshots_of(copy, 3) - before).max() > 0


def read_snapshots_of(path, epoch):
    return np.load(path / f"snapshots/epoch-{epoch:05}.npy")


def test_option(call, refused, copy, tmp_path):
    options = [*small_options(epochs=1), "--no-figures", "--quiet", "--out", tmp_path / "new"]
    assert call(train.main, *options, "--snapshots") == (0, "")
    assert list(snapshots(tmp_path / "new")) == [0, 1]
    go_on = ["--no-figures", "--quiet", "--epochs", 4]
    assert call(train.main, "--resume", copy, *go_on, "--snapshots") == (0, "")
    assert list(snapshots(copy)) == [0, 1, 2, 3, 4]
    shutil.rmtree(copy / "snapshots")
    message = refused(train.main, "--resume", copy, "--epochs", 5, "--snapshots", code=2)
    assert f"--snapshots: {copy} was begun without" in message


def test_animation(call, run, tmp_path):
    status, output = call(plot.main, run, "--animate", "--out", tmp_path / "drawn")
    assert status == 0, output
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["training.gif"]
    with Image.open(tmp_path / "drawn/training.gif") as gif:
        assert gif.format == "GIF" and gif.n_frames == 4 and gif.info["loop"] == 0
        frames = []
        for number in range(4):
            gif.seek(number)
            frames.append(np.asarray(gif.convert("RGB")))
        assert gif.info["duration"] > 2000, "the last stays"
    for before, after in zip(frames, frames[1:]):
        # The title, which counts the epochs, and the points.
        assert (before[:25] != after[:25]).any() and (before[60:] != after[60:]).any()


def test_frames():
    codes = {epoch: np.random.default_rng(epoch).random((9, 2)) for epoch in (0, 1, 5)}
    prior = np.random.default_rng(9).random((4, 2))
    animation = plotting.animate_codes(codes, np.arange(9) % 3, "abc", prior, limit=2)
    (ax,) = animation._fig.axes
    titles = []
    for epoch in animation.new_frame_seq():
        animation._func(epoch)
        titles.append(ax.get_title())
        np.testing.assert_array_equal(ax.collections[0].get_offsets(), prior)
        np.testing.assert_array_equal(ax.collections[1].get_offsets(), codes[epoch])
    assert titles[:3] == ["q(z) before training", "q(z) after epoch 1", "q(z) after epoch 5"]
    assert set(titles[3:]) == {"q(z) after epoch 5"}
    animation._draw_was_started = True


def test_animation_of_more_dimensions(call, tmp_path):
    config = small_config(code_dim=6, epochs=1)
    aae_mx.fit(config, tmp_path / "run", quiet=True, snapshots=True)
    assert call(plot.main, tmp_path / "run", "--animate")[0] == 0
    with Image.open(tmp_path / "run/figures/training.gif") as gif:
        assert gif.n_frames == 2


def test_no_snapshots(refused, supervised_run, tmp_path):
    out = tmp_path / "drawn"
    message = refused(plot.main, supervised_run, "--animate", "--out", out, code=1)
    assert "it has no snapshots; train with --snapshots" in message and not out.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not start as one"),
        (np.zeros((300, 4), np.float32), "announces"),
        (np.zeros((299, 2), np.float32), "announces"),
        (np.zeros((300, 2)), "announces"),
        (np.full((300, 2), None), "announces"),
        (np.full((300, 2), np.nan, np.float32), "not all finite"),
    ],
)
def test_damaged(refused, copy, content, reason):
    file = copy / "snapshots/epoch-00001.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content, allow_pickle=True)
    message = refused(plot.main, copy, "--animate", code=1)
    assert str(file) in message and reason in message


def test_cut_off(copy):
    file = copy / "snapshots/epoch-00001.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="not the 2,400 bytes of its codes"):
        read_snapshots(copy, 300, 2)
    file.write_bytes(file.read_bytes() + bytes(2))
    with pytest.raises(InputError, match="not the 2,400 bytes of its codes"):
        read_snapshots(copy, 300, 2)


def test_links_out_of_the_run_are_not_followed(copy, tmp_path):
    outside = tmp_path / "outside"
    shutil.move(copy / "snapshots", outside)
    (outside / "epoch-00099.npy").write_bytes(b"mine")
    (copy / "snapshots").symlink_to(outside)
    names = sorted(path.name for path in outside.iterdir())
    for use in (lambda: read_snapshots(copy, 300, 2), lambda: aae_mx.resume(copy, epochs=4)):
        with pytest.raises(InputError, match="a link that leads out of the run"):
            use()
    assert sorted(path.name for path in outside.iterdir()) == names
