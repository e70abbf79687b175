"""Stopping a training in every way, and going on with it: bit for bit as if it had not stopped."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import create, small_config, small_options

import aae_mx
from aae_mx import modes, train
from aae_mx.commands import evaluate
from aae_mx.data import load_dataset
from aae_mx.errors import ConfigError, InputError, Interrupted
from aae_mx.model import load
from aae_mx.runs.checkpoint import Position, checkpoints, finished_epochs
from aae_mx.runs.history import read_history
from aae_mx.runs.snapshots import read_snapshots
from aae_mx.training import batches
from aae_mx.training import loop as training
from aae_mx.training.optimizers import Learner

FORMULATIONS = [
    {"recipe": "reference"},
    {"prior": "swiss_roll", "labels": "all"},
    {"prior": "gaussian_mixture", "labels": 50},
]


def last_arrays(run):
    """The arrays of the last checkpoint, but for the seconds and the sum over them."""
    with np.load(checkpoints(run)[-1]) as arrays:
        return {name: arrays[name] for name in arrays.files if name not in ("seconds", "sha256")}


def assert_same_run(a, b):
    """Weights, optimizer states and history are the same, bit for bit."""
    left, right = last_arrays(a), last_arrays(b)
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)
    histories = [read_history(run) for run in (a, b)]
    for history in histories:
        del history["seconds"]
    assert histories[0] == histories[1]


def stop_after(monkeypatch, n, number=signal.SIGINT):
    """Send this process a signal in the n-th step from now on."""
    calls = []
    for mode in modes.MODES.values():

        def counted(*arguments, step=mode.step):
            calls.append(1)
            if len(calls) == n:
                os.kill(os.getpid(), number)
            return step(*arguments)

        monkeypatch.setattr(mode, "step", counted)


@pytest.mark.parametrize("settings", FORMULATIONS)
def test_stopped_and_resumed_is_unbroken(tmp_path, monkeypatch, settings):
    """Stopped in epoch 1, at the end of 2 or after, and in 3; an epoch has six steps or more."""
    config = small_config(**settings, epochs=4)
    # Started in the background by a shell, the tests themselves ignore it.
    before = signal.getsignal(signal.SIGINT)
    aae_mx.fit(config, tmp_path / "whole", quiet=True)
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(
            Interrupted, match="after epoch 0, step 3, and saved; go on with: python"
        ):
            aae_mx.fit(config, stopped, quiet=True)
    steps = batches.steps_per_epoch(aae_mx.model.AAE(config, (28, 28), "0123456789").mode, 300)
    for n in (2 * steps - 3, 4):
        with monkeypatch.context() as patch:
            stop_after(patch, n)
            with pytest.raises(Interrupted, match="after epoch 2, step [04], and saved"):
                aae_mx.resume(stopped, quiet=True)
    assert signal.getsignal(signal.SIGINT) is before
    aae_mx.resume(stopped, quiet=True)
    assert_same_run(tmp_path / "whole", stopped)
    images = np.random.default_rng(0).random((5, 784))
    np.testing.assert_array_equal(
        load(tmp_path / "whole").encode(images), load(stopped).encode(images)
    )


def test_extending_a_finished_run(tmp_path):
    """With constant rates, two epochs and then two more are four."""
    settings = {"recipe": "reference"}
    aae_mx.fit(small_config(**settings, epochs=4), tmp_path / "four", quiet=True)
    aae_mx.fit(small_config(**settings, epochs=2), tmp_path / "two", quiet=True)
    with pytest.raises(ConfigError, match="epochs=2: .* has finished 2; give more to extend it"):
        aae_mx.resume(tmp_path / "two", quiet=True)
    model = aae_mx.resume(tmp_path / "two", epochs=4, quiet=True)
    assert_same_run(tmp_path / "four", tmp_path / "two")
    assert load(tmp_path / "two").config == model.config == small_config(**settings, epochs=4)


def test_what_cannot_change_is_refused_by_name(refused, call, tmp_path):
    run = tmp_path / "run"
    aae_mx.fit(small_config(epochs=1), run, quiet=True)
    options = ["--resume", run, "--epochs", 2, "--no-figures", "--quiet"]
    message = refused(train.main, *options, "--prior", "uniform", code=2)
    assert "--prior uniform: " in message and "was trained with gaussian" in message
    assert "--hidden 9" in refused(train.main, *options, "--hidden", 9, code=2)
    assert "--out x" in refused(train.main, *options, "--out", "x", code=2)
    assert "no run here" in refused(train.main, "--resume", tmp_path / "none", code=1)
    assert not (tmp_path / "none").exists()
    # Saying again what it was trained with is no change.
    assert call(train.main, *options, "--prior", "gaussian", "--seed", 0) == (0, "")
    assert read_history(run)["epoch"] == [1, 2]


def test_other_data_are_refused(tmp_path, idx_directory):
    config = small_config(data_dir=str(idx_directory), epochs=1)
    aae_mx.fit(config, tmp_path / "run", quiet=True)
    file = idx_directory / "t10k-labels-idx1-ubyte"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="the data are no longer those that it was trained on"):
        aae_mx.resume(tmp_path / "run", epochs=2, quiet=True)


def test_checkpoints_kept(tmp_path):
    config = small_config(epochs=7)
    aae_mx.fit(config, tmp_path / "run", quiet=True, checkpoint_every=2, keep=3)
    epochs = [int(path.stem.split("-")[1]) for path in checkpoints(tmp_path / "run")]
    assert epochs == [4, 6, 7]
    # Going back by hand, as the message of a damaged checkpoint says.
    checkpoints(tmp_path / "run")[-1].unlink()
    whole = tmp_path / "whole"
    aae_mx.fit(config, whole, quiet=True)
    aae_mx.resume(tmp_path / "run", quiet=True)
    assert_same_run(whole, tmp_path / "run")


def test_checkpoints_are_in_the_order_of_their_numbers(tmp_path):
    """Also those of more than 99,999 epochs, for which the names were not made."""
    model = aae_mx.model.AAE(small_config(epochs=200_000), (4, 5), ())
    with create(model, tmp_path / "run") as run:
        for epoch, step in ((9, 0), (99_999, 12), (100_000, 3), (100_000, 11), (123_456, 0)):
            run.save(Position(epoch, step), {**model.weights(), **Learner(model.mode).state()})
    names = [file.name for file in checkpoints(tmp_path / "run")]
    assert names == ["checkpoint-100000-0000011.npz", "checkpoint-123456-0000000.npz"]
    assert finished_epochs(tmp_path / "run") == load(tmp_path / "run").epoch == 123_456


STARTED = []


@pytest.fixture(autouse=True)
def none_is_left():
    """A test that fails leaves no training behind."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.communicate()


def start(run, *options):
    """A process that trains into ``run``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aae_mx.train", "--quiet", "--no-figures", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(aae_mx.__file__))},
    )
    STARTED.append(process)
    return process


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_signals_save_and_exit(tmp_path, number):
    run = tmp_path / "run"
    process = start(run, *small_options(epochs=10**6), "--out", run)
    wait_for((run / "history.csv").exists, process)
    # A second process is refused while the first lives.
    second = start(run, "--resume", run)
    assert "another process is training there" in second.communicate(timeout=60)[1]
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert (
        errors.count("\n") == 1 and f"go on with: python -m aae_mx.train --resume {run}" in errors
    )
    done = read_history(run)["epoch"][-1]
    aae_mx.resume(run, epochs=int(done) + 1, quiet=True)
    assert read_history(run)["epoch"] == list(range(1, int(done) + 2))


# Killing: at random moments of a training that writes a checkpoint in each epoch.
KILLS = int(os.environ.get("AAE_MX_KILLS", "1"))


def test_killed_and_resumed_is_unbroken(tmp_path):
    """SIGKILL at random moments, also while a checkpoint is written: nothing differs after."""
    epochs = 10 + KILLS
    config = small_config(**FORMULATIONS[2], epochs=epochs)
    aae_mx.fit(config, tmp_path / "whole", quiet=True)
    run = tmp_path / "run"
    options = [*small_options(**FORMULATIONS[2], epochs=epochs), "--out", run]
    rng = np.random.default_rng(0)
    kills = lost = 0
    while kills < KILLS:
        if run.exists() and len(checkpoints(run)) and epochs == finished_epochs(run):
            # It was over before all the kills: once more from the start.
            assert_same_run(tmp_path / "whole", run)
            run = tmp_path / f"run{kills}"
            options[-1] = run
        begun = (run / "config.json").exists()
        before = finished_epochs(run)
        process = start(run, *(["--resume", run] if begun else options))
        # Past the start-up, from which nothing can be lost; then anywhere in the next epochs.
        wait_for(lambda before=before, run=run: finished_epochs(run) > before, process)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        lost += finished_epochs(run) < before
    assert not lost
    if finished_epochs(run) < epochs:
        aae_mx.resume(run, quiet=True)
    assert_same_run(tmp_path / "whole", run)


# A last checkpoint that is damaged: the run goes back to the one before.


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of three epochs, with snapshots and three checkpoints."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    config = small_config(prior="swiss_roll", labels="all", epochs=3)
    aae_mx.fit(config, path, quiet=True, keep=3, snapshots=True)
    return path


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "my run")
    return tmp_path / "my run"


def damage(file, how):
    file.write_bytes(how(file.read_bytes()))


@pytest.mark.parametrize("how", [cut, flipped, lambda content: b""])
def test_a_damaged_checkpoint(call, refused, whole, copy, how):
    last = checkpoints(copy)[-1]
    damage(last, how)
    command = f"python -m aae_mx.train --resume '{copy}' --skip-damaged"
    hint = f"; to go back to checkpoint-00002-0000000.npz, which is whole: {command}"
    for command, *options in (
        [evaluate.main, copy],
        [train.main, "--resume", copy, "--epochs", 4],
    ):
        message = refused(command, *options, code=1)
        assert str(last) in message and message.endswith(hint + "\n")
    model = aae_mx.load(copy, skip_damaged=True)
    assert model.epoch == 2
    codes = read_snapshots(copy, 300, 2)
    np.testing.assert_array_equal(model.encode(load_dataset(model.config).test_images), codes[2])
    # As the message says.
    assert call(train.main, *shlex.split(hint)[-3:], "--quiet", "--no-figures") == (0, "")
    assert_same_run(whole, copy)
    for epoch, kept in read_snapshots(copy, 300, 2).items():
        np.testing.assert_array_equal(kept, codes[epoch])


def test_only_a_whole_checkpoint_is_named(refused, call, copy):
    first, second, third = checkpoints(copy)
    damage(second, cut)
    damage(third, cut)
    assert "to go back to checkpoint-00001" in refused(evaluate.main, copy, code=1)
    damage(first, flipped)
    for skip in (False, True):
        with pytest.raises(InputError, match="00003-0000000.npz: cannot be read") as error:
            load(copy, skip_damaged=skip)
        assert "to go back" not in str(error.value)
    for file in (first, second):
        file.unlink()
    with pytest.raises(InputError, match="checkpoint-00003-0000000.npz: cannot be read"):
        aae_mx.resume(copy, skip_damaged=True)


def test_a_whole_checkpoint_is_not_skipped(refused, copy):
    assert load(copy, skip_damaged=True).epoch == 3
    options = ["--resume", copy, "--skip-damaged"]
    assert "has finished 3" in refused(train.main, *options, code=2)
    assert "give --resume" in refused(train.main, "--skip-damaged", code=2)


def test_a_damaged_checkpoint_stays_until_there_is_a_new_one(whole, copy, monkeypatch):
    """Also if the run stops in between; then what lies after the new one goes."""
    last = checkpoints(copy)[-1]
    damage(last, cut)
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_epoch", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            aae_mx.resume(copy, quiet=True, skip_damaged=True)
    assert last.exists()
    for keep in (1, 2):
        with monkeypatch.context() as patch:
            stop_after(patch, 2)
            with pytest.raises(Interrupted, match=f"after epoch 2, step {2 * keep}, and saved"):
                aae_mx.resume(copy, quiet=True, skip_damaged=True, keep=keep)
        assert checkpoints(copy)[-1].name == f"checkpoint-00002-000000{2 * keep}.npz"
        assert len(checkpoints(copy)) == keep
    aae_mx.resume(copy, quiet=True)
    assert_same_run(whole, copy)


# Disks that are full and files that go.


def test_full_disk_keeps_the_last_checkpoint(tmp_path):
    """No file may grow past 20 kB: the history still can, the checkpoint cannot."""
    run = tmp_path / "run"
    aae_mx.fit(small_config(epochs=1), run, quiet=True)
    before = last_arrays(run)
    code = f"""
import resource, signal, sys
from aae_mx import train
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
train.main(["--resume", {str(run)!r}, "--epochs", "3", "--quiet", "--no-figures"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and "cannot be written" in result.stderr
    assert "checkpoint-00002-0000000.npz" in result.stderr
    after = last_arrays(run)
    assert all((before[name] == after[name]).all() for name in before)
    assert [path.name for path in (run / "checkpoints").iterdir()] == [checkpoints(run)[0].name]
    aae_mx.resume(run, epochs=3, quiet=True)
    assert read_history(run)["epoch"] == [1, 2, 3]


@pytest.mark.parametrize("name", ["config.json", "history.csv"])
def test_vanished_files(refused, tmp_path, name):
    run = tmp_path / "run"
    aae_mx.fit(small_config(epochs=1), run, quiet=True)
    (run / name).unlink()
    options = ["--resume", run, "--epochs", 2, "--no-figures"]
    assert name in refused(train.main, *options, code=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_directory(refused, tmp_path):
    run = tmp_path / "run"
    aae_mx.fit(small_config(epochs=1), run, quiet=True)
    run.chmod(0o500)
    try:
        options = ["--resume", run, "--epochs", 2, "--no-figures"]
        assert "Permission denied" in refused(train.main, *options, code=1)
    finally:
        run.chmod(0o700)
