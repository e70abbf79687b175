"""What is told while it trains: the callback, which can end it, and figures of epochs."""

import io
import os
import signal
import sys

import numpy as np
import pytest
from conftest import small_config, small_options
from PIL import Image
from test_resume import assert_same_run

import aae_mx
from aae_mx import train
from aae_mx.errors import AAEError, ConfigError, InputError, Interrupted
from aae_mx.report import figures
from aae_mx.runs.checkpoint import checkpoints, finished_epochs
from aae_mx.runs.history import read_history
from aae_mx.training.progress import ERASE


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of four epochs that nobody looked at."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    aae_mx.fit(small_config(epochs=4), path, quiet=True)
    return path


def epochs_of(files):
    return [int(file.stem.split("-")[1]) for file in files]


def test_it_is_called_after_each_epoch_once_that_is_written(tmp_path, whole):
    run, calls = tmp_path / "run", []

    def callback(epoch, metrics):
        written = read_history(run)
        assert type(epoch) is int and written["epoch"][-1] == epoch == metrics["epoch"]
        assert type(metrics) is dict and set(map(type, metrics.values())) == {float}
        assert list(metrics) == list(written)
        for name, values in written.items():
            assert values[-1] == pytest.approx(metrics[name], rel=1e-5)
        # Where one is due: after every second, and the last.
        assert finished_epochs(run) == {1: 0, 2: 2, 3: 2, 4: 4}[epoch]
        calls.append(epoch)
        # A copy.
        metrics.clear()

    aae_mx.fit(small_config(epochs=4), run, quiet=True, checkpoint_every=2, callback=callback)
    assert calls == [1, 2, 3, 4]
    assert_same_run(whole, run)


def stop_at(n, *reason):
    def callback(epoch, metrics):
        if epoch == n:
            raise aae_mx.StopTraining(*reason)

    return callback


def test_it_can_end_the_training(tmp_path, whole, capsys):
    run, config = tmp_path / "my run", small_config(epochs=4)
    images = np.random.default_rng(0).random((5, 784))
    # No checkpoint was due.
    model = aae_mx.fit(config, run, checkpoint_every=3, callback=stop_at(2, "good\nenough"))
    assert (model.epoch, finished_epochs(run), model.config.epochs) == (2, 2, 4)
    np.testing.assert_array_equal(model.encode(images), aae_mx.load(run).encode(images))
    line = (
        "stopped by the callback (good\\nenough) after epoch 2, and saved; go on with: python -m "
        f"aae_mx.train --resume '{run}'\n"
    )
    output = capsys.readouterr()
    assert output.out.endswith(f"left\n{line}") and output.err == ""
    assert (run / "train.log").read_text().endswith(line)
    seen = []
    aae_mx.resume(run, quiet=True, callback=lambda epoch, metrics: seen.append(epoch))
    assert seen == [3, 4]
    assert_same_run(whole, run)


def test_it_ends_the_last_epoch_and_goes_on_elsewhere(tmp_path, whole, capsys):
    run = tmp_path / "run"
    aae_mx.fit(small_config(epochs=4), run, quiet=True, callback=stop_at(1))
    assert capsys.readouterr() == ("", "")
    for n in (2, 4):
        assert aae_mx.resume(run, checkpoint_every=9, callback=stop_at(n)).epoch == n
    line = "stopped by the callback after epoch 4, and saved; it was the last\n"
    assert capsys.readouterr().out.endswith(line)
    assert_same_run(whole, run)


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), InputError("mine")])
def test_another_exception_comes_through_and_nothing_is_lost(tmp_path, whole, error):
    run = tmp_path / "run"

    def callback(epoch, metrics):
        if epoch == 3:
            raise error

    with pytest.raises(type(error)) as raised:
        aae_mx.fit(small_config(epochs=4), run, quiet=True, checkpoint_every=4, callback=callback)
    assert raised.value is error and error.__cause__ is error.__context__ is None
    assert epochs_of(checkpoints(run)) == [3]
    aae_mx.resume(run, quiet=True)
    assert_same_run(whole, run)


@pytest.mark.parametrize("stop", [lambda epoch, metrics: None, stop_at(2)])
def test_a_signal_meanwhile_is_a_signal(tmp_path, whole, stop):
    """Also beside a wish to stop; and what no checkpoint was due for is saved."""
    run = tmp_path / "run"

    def callback(epoch, metrics):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        stop(epoch, metrics)

    with pytest.raises(Interrupted, match="after epoch 2, step 0, and saved; go on with: python"):
        aae_mx.fit(small_config(epochs=4), run, quiet=True, checkpoint_every=9, callback=callback)
    assert epochs_of(checkpoints(run)) == [2]
    aae_mx.resume(run, quiet=True)
    assert_same_run(whole, run)


@pytest.mark.parametrize("callback", [[print], "print\n" * 50, 3, np.zeros((30, 30))])
def test_what_cannot_be_called_is_refused(tmp_path, callback, supervised_run):
    before = sorted(supervised_run.iterdir())
    for start in (
        lambda: aae_mx.fit(small_config(), tmp_path / "run", callback=callback),
        lambda: aae_mx.resume(supervised_run, epochs=3, callback=callback),
    ):
        with pytest.raises(InputError, match=r"callback=.*: expected one function f\(e") as error:
            start()
        message = str(error.value)
        assert "\n" not in message and len(message) < 130
    assert not list(tmp_path.iterdir()) and sorted(supervised_run.iterdir()) == before


def test_to_stop_is_no_error():
    assert not issubclass(aae_mx.StopTraining, AAEError)
    assert "StopTraining" in dir(aae_mx)


def test_one_that_attaches_sees_the_model(tmp_path):
    class Watch:
        def attach(self, model, dataset):
            assert not (tmp_path / "run/history.csv").exists()
            self.model, self.images = model, dataset.test_images

        def __call__(self, epoch, metrics):
            assert self.model.epoch == epoch
            error = self.model.error_norms(self.images).mean()
            assert metrics["held_out_l2"] == pytest.approx(error)
            self.done = epoch

    watch = Watch()
    model = aae_mx.fit(small_config(), tmp_path / "run", quiet=True, callback=watch)
    assert watch.model is model and watch.done == 2


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_gives_way_to_what_it_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())

    def callback(epoch, metrics):
        print(f"mine {epoch}", file=sys.stderr)
        if epoch == 2:
            raise aae_mx.StopTraining

    aae_mx.fit(small_config(epochs=4), tmp_path / "run", callback=callback)
    parts = terminal.getvalue().split(ERASE)
    assert len(parts) == 3 and "epoch 1/4" in parts[0]
    for epoch, part in enumerate(parts[1:], start=1):
        # And is there again.
        assert part.startswith(f"mine {epoch}\n") and f"epoch {epoch}/4" in part
    assert parts[-1].endswith("\n") and parts[-1].count("\n") == 2
    assert "\nstopped by the callback after epoch 2, and saved; go on" in capsys.readouterr().out


# Figures of epochs.


def test_figures_of_epochs(tmp_path, whole):
    """The last is the qz.png of the end; the training is the same to the last bit."""
    run, callback = tmp_path / "run", figures.figures_every(2)
    model = aae_mx.fit(small_config(epochs=4), run, quiet=True, callback=callback)
    model.mode.figures = ("qz",)
    figures.plot_run(model)
    drawn = sorted((run / "figures").iterdir())
    assert [file.name for file in drawn] == ["qz.png", "qz_epoch_0002.png", "qz_epoch_0004.png"]
    end, early, late = (file.read_bytes() for file in drawn)
    assert end == late != early
    assert_same_run(whole, run)


def test_figures_of_epochs_of_a_run_that_goes_on(
    monkeypatch, coarse_figures, call, tmp_path, whole
):
    """--no-figures is about those of the end."""
    monkeypatch.setattr("aae_mx.report.figures.DPI", coarse_figures)
    run = tmp_path / "run"
    aae_mx.fit(small_config(epochs=4), run, quiet=True, callback=stop_at(2))
    options = ["--resume", run, "--quiet", "--no-figures", "--checkpoint-every", 9]
    assert call(train.main, *options, "--figures-every", 3) == (0, "")
    assert [file.name for file in (run / "figures").iterdir()] == ["qz_epoch_0003.png"]
    assert Image.open(run / "figures/qz_epoch_0003.png").size == (800, 800)
    assert_same_run(whole, run)


def test_a_figure_that_fails_does_not_stop_it(tmp_path, monkeypatch, capsys, whole):
    def fail(scene):
        raise ValueError("no\nink")

    monkeypatch.setitem(figures.FIGURES, "qz", fail)
    callback = figures.figures_every(3)
    run = tmp_path / "run"
    aae_mx.fit(small_config(epochs=4), run, quiet=True, callback=callback)
    line = "Warning: no qz_epoch_0003.png: no\\nink; the training goes on\n"
    assert capsys.readouterr() == ("", line)
    assert_same_run(whole, run)


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", None])
def test_figures_of_no_epoch(n):
    with pytest.raises(ConfigError, match="figures_every=.*: expected a whole number of at least"):
        figures.figures_every(n)


def test_figures_of_no_epoch_by_the_command(refused, tmp_path):
    options = [*small_options(), "--out", tmp_path / "run", "--figures-every"]
    assert "--figures-every" in refused(train.main, *options, 0, code=2)
    assert "--figures-every" in refused(train.main, *options, "all", code=2)
    assert not (tmp_path / "run").exists()


def test_figures_of_no_model():
    """As when it is called by a function that was given to fit instead."""
    with pytest.raises(InputError, match="it has no model; give fit itself the callback"):
        figures.figures_every(1)(1, {})


def test_names_sort_in_long_trainings(tmp_path):
    model = aae_mx.model.AAE(small_config(epochs=20_000), (28, 28), "0123456789")
    model.run = tmp_path
    callback = figures.figures_every(5)
    callback.attach(model, aae_mx.data.load_dataset(model.config))
    for epoch in (5, 7, 10_000):
        callback(epoch, {})
    names = sorted(file.name for file in (tmp_path / "figures").iterdir())
    assert names == ["qz_epoch_00005.png", "qz_epoch_10000.png"]
