"""Odd environments, runs of strangers, and what changes while a training writes."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import small_config, small_options, write_idx

import aae_mx
from aae_mx import Config
from aae_mx.commands import evaluate, plot, sample, train
from aae_mx.data import load_dataset, parts
from aae_mx.data.dataset import read_idx
from aae_mx.errors import ConfigError, InputError
from aae_mx.files import GROUPS, V1_LIMIT, check_memory, free_memory, open_regular
from aae_mx.model import load
from aae_mx.runs.checkpoint import checkpoints
from aae_mx.runs.directory import Run
from aae_mx.runs.history import read_history
from aae_mx.text import printable


def python(*arguments, **how):
    how["env"] = {**os.environ, "OMP_NUM_THREADS": "1", **how.pop("env", {})}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, **how
    )


def one_line(told, code=1):
    assert told.returncode == code, told.stderr
    assert told.stderr.startswith("Error: ") and told.stderr.count("\n") == 1, told.stderr
    return told.stderr


@pytest.fixture
def copy(unsupervised_run, tmp_path):
    return shutil.copytree(unsupervised_run, tmp_path / "copy")


# The environment.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("OMP_NUM_THREADS", value) for value in ("0", "-1", "abc", "4,2", "²", "")),
        ("MXNET_CPU_WORKER_NTHREADS", "0"),
        ("OPENBLAS_NUM_THREADS", "99999"),
    ],
)
def test_numbers_of_threads_that_cannot_be(name, value, monkeypatch):
    """With some of them nothing would be computed, and nothing said."""
    from aae_mx.threads import check_environment

    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{name}={value}: expected a number of threads"):
        check_environment()


def test_no_threads_train_nothing(tmp_path):
    command = ["-m", "aae_mx.train", *small_options(), "--out", tmp_path / "run"]
    message = one_line(python(*command, env={"OMP_NUM_THREADS": "0"}))
    assert "OMP_NUM_THREADS=0: expected a number of threads from 1" in message
    assert not (tmp_path / "run").exists()


def test_too_small_an_address_space(tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (600_000 * 1024, resource.RLIM_INFINITY))

    command = ["-m", "aae_mx.train", *small_options(), "--out", tmp_path / "run"]
    message = one_line(python(*command, preexec_fn=limited))
    assert "614.4 MB of addresses here (ulimit -v)" in message


def test_ctrl_c_while_modules_are_imported(tmp_path):
    """It gets one line as soon as the package itself is there, long before MXNet is loaded."""
    command = ["-X", "importtime", "-m", "aae_mx.train", "--out", str(tmp_path / "run")]
    with subprocess.Popen(
        [sys.executable, *command, *small_options()],
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets jobs in the background ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as started:
        for line in started.stderr:
            if line.rstrip().endswith("aae_mx"):
                started.send_signal(signal.SIGINT)
                break
        told = started.stderr.read()
        assert started.wait(timeout=120) in (-signal.SIGINT, 130)
    assert "Error: interrupted\n" in told and "Traceback" not in told
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_no_utf8(call, tmp_path):
    path = os.fsdecode(os.fsencode(str(tmp_path)) + b"/o\xff4")
    try:
        os.mkdir(path)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    status, _ = call(train.main, *small_options(epochs=1), "--out", path, "--no-figures")
    assert status == 0
    status, told = call(evaluate.main, path)
    assert status == 0 and "o\\xff4: epoch 1" in told


def test_memory_is_asked_for_first(tmp_path):
    with pytest.raises(InputError, match="mine need about 1,000,000,000.0 MB of memory"):
        check_memory(10**15, "mine")
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(path, np.arange(60).reshape(5, 3, 4))
    whole = read_idx(path, 3)
    np.testing.assert_array_equal(read_idx(path, 3, rows=2), whole[:2])
    np.testing.assert_array_equal(read_idx(path, 3, rows=9), whole)
    # What is not read may be of any size.
    path.write_bytes(path.read_bytes()[:4] + (2**20).to_bytes(4, "big") + path.read_bytes()[8:])
    np.testing.assert_array_equal(read_idx(path, 3, rows=2), whole[:2])
    with pytest.raises(InputError, match="cut off"):
        read_idx(path, 3)


# Settings.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta1": 0.9999999999}, "expected less than 1, also in single precision"),
        ({"clip": 1e-300}, "expected more than 0, also in single precision"),
        ({"generator_rate": 1e300}, "that single precision can hold"),
        ({"prior_std": 1e30}, "expected at most 1000000.0"),
        ({"hidden": (10**400,)}, "expected at most 65536"),
        ({"hidden": [1] * 100_000}, "expected at most 64 numbers"),
        ({"discriminator_steps": 10**7}, "expected at most 1000"),
        ({"epochs": 10**5000}, "expected at most"),
        ({"labels": "²"}, "expected 'all', 'none' or a number"),
        ({"dataset": "../../mine"}, "which has no separators"),
        ({"dataset": "/etc"}, "which has no separators"),
        ({"images": "a\0b"}, "characters that no text has"),
        ({"data": "\ud800"}, "characters that no text has"),
        ({"x_key": "x" * 5000, "data": "a.npz"}, "expected at most 4096 characters"),
        ({"seed": 2**64}, "expected at most 9223372036854775807"),
    ],
)
def test_settings_beyond_reason(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Config(**settings)
    assert len(caught.value.option_message) < 400 and printable(caught.value.option_message)


def test_settings_at_their_limits():
    assert Config(hidden=[65536] * 2, beta1=0.9999, clip=1e-30, prior_std=1e6).seed == 0
    assert Config(epochs=10**6, seed=2**63 - 1, dataset="Kuzushiji-MNIST").beta2 == 0.999


# A run that changes while it is written.


def test_a_directory_that_is_moved(tmp_path):
    """What goes by its name would otherwise be written into another training's run."""
    model = aae_mx.model.AAE(small_config(), (28, 28), "0123456789")
    from aae_mx.model import describe

    description = describe(model, "data")
    with Run.create("mine", description, tmp_path / "run") as run:
        os.rename(tmp_path / "run", tmp_path / "old")
        with Run.create("mine", description, tmp_path / "run") as other:
            for write in (
                lambda: run.describe(description),
                lambda: run.add({"epoch": 1, "seconds": 1.0, "reconstruction_loss": 1.0}),
                lambda: run.add_snapshot(1, np.zeros((2, 2))),
                lambda: run.save(aae_mx.runs.checkpoint.Position(1), {}),
            ):
                with pytest.raises(InputError, match="moved, removed or replaced"):
                    write()
            other.add({"epoch": 1, "seconds": 1.0, "reconstruction_loss": 1.0})
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(InputError, match="nothing more is written"):
            run.describe(description)


@pytest.mark.parametrize("left", [[".lock"], ["checkpoints/"], ["checkpoints/", "snapshots/"]])
def test_a_run_whose_making_was_killed(left, refused, tmp_path):
    """It is no run yet, and the same command makes it one."""
    path = tmp_path / "run"
    path.mkdir()
    for name in [*left, ".config.json.tmp"]:
        (path / name).mkdir() if name.endswith("/") else (path / name).write_text("{")
    if "checkpoints/" in left:
        told = refused(train.main, "--resume", path, code=1)
        assert "it was killed before it began; give its first command again" in told
    aae_mx.fit(small_config(epochs=1), path, quiet=True)
    assert load(path).epoch == 1 and not (path / "snapshots").exists()
    again = refused(train.main, *small_options(), "--out", path, code=1)
    assert "it is not empty" in again


def test_figures_that_are_missing_are_drawn_at_a_resume(call, refused, tmp_path):
    aae_mx.fit(small_config(epochs=1), tmp_path / "run", quiet=True)
    resume = ["--resume", tmp_path / "run"]
    assert "has finished 1; give more" in refused(train.main, *resume, "--no-figures", code=2)
    assert call(train.main, *resume)[0] == 0
    drawn = tmp_path / "run/figures/losses.png"
    assert drawn.exists()
    assert "has finished 1; give more" in refused(train.main, *resume, code=2)
    os.utime(drawn, (0, 0))
    assert call(train.main, *resume)[0] == 0 and drawn.stat().st_mtime > 10**9


def test_what_was_lost_is_trained_again_before_figures_are_drawn(copy, call, refused):
    last = checkpoints(copy)[-1]
    last.write_bytes(last.read_bytes()[:-100])
    assert "--skip-damaged" in refused(train.main, "--resume", copy, code=1)
    assert not (copy / "figures/losses.png").exists()
    assert call(train.main, "--resume", copy, "--skip-damaged")[0] == 0
    assert load(copy).epoch == 2 and (copy / "figures/losses.png").exists()


@pytest.mark.parametrize("epoch", [99_999, 100_000, 1_234_567])
def test_many_epochs(tmp_path, epoch):
    from aae_mx.runs.checkpoint import Position, finished_epochs, write

    (tmp_path / "checkpoints").mkdir()
    for step in (9_999_999, 10_000_000, 12_345_678):
        write(tmp_path, Position(epoch, step), {}, keep=2)
    names = [path.name for path in checkpoints(tmp_path)]
    assert len(names) == 2 and names[-1].endswith("12345678.npz")
    assert finished_epochs(tmp_path) == epoch


# Runs of strangers.


def changed(path, change):
    description = json.loads((path / "config.json").read_text())
    change(description)
    (path / "config.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    "name", ["config.json", "history.csv", "train.log", ".lock", "checkpoints/LAST"]
)
def test_a_pipe_is_not_waited_for(copy, name):
    path = copy / name if "LAST" not in name else checkpoints(copy)[-1]
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    # Of a checkpoint, which has to have a size, before it is opened.
    message = "it is no ordinary file|it has 0 bytes"
    if name in ("config.json", "checkpoints/LAST"):
        with pytest.raises(InputError, match=message):
            load(copy)
    with pytest.raises(InputError, match=message):
        aae_mx.resume(copy, epochs=3, quiet=True)


def test_what_is_no_file(tmp_path):
    for place in (tmp_path, "/dev/null"):
        with pytest.raises(InputError, match="it is no ordinary file"):
            open_regular(place)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:1] + lines[2:], "row 1 is of epoch 2"),
        (lambda lines: [lines[0], lines[2], lines[1]], "row 1 is of epoch 2"),
        (lambda lines: lines[:2], "it has 1 of the 2 epochs that were trained"),
        (lambda lines: [lines[0] + ",seconds", *lines[1:]], "does not name columns"),
        (lambda lines: [], "does not name columns"),
        (lambda lines: [lines[0].replace("epoch,", "epochs,"), *lines[1:]], "does not name"),
        (lambda lines: [lines[0], *(f"{i}," + "1e308," * 99 for i in (1, 2))], "more or fewer"),
    ],
)
def test_histories_that_cannot_be(copy, change, message):
    file = copy / "history.csv"
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")
    with pytest.raises(InputError, match=message):
        aae_mx.resume(copy, epochs=3, quiet=True)


def test_a_history_without_epochs_or_beyond_reason(copy, call, refused):
    file = copy / "history.csv"
    lines = file.read_text().splitlines()
    file.write_text(lines[0] + "\n")
    assert read_history(copy) == {}
    status, told = call(plot.main, copy)
    assert status == 0 and "no losses.png: its history has no epochs" in told
    file.write_text("\n".join([lines[0], lines[1].replace(lines[1].split(",")[1], "1e308")]))
    assert "reconstruction_loss of epoch 1 is beyond reason" in refused(plot.main, copy, code=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(classes=["a"] * 20_000), "20,000 classes: expected at most 10,000"),
        (lambda d: d.update(classes=["a" * 900]), "has more than 300 characters"),
        (lambda d: d.update(image_shape=[True, 784]), "are not what a run has"),
        (lambda d: d["config"].update(hidden=[600_000]), "expected at most 65536"),
        (lambda d: d["config"].update(dataset="../../x"), "which has no separators"),
        (lambda d: d["config"].update(prior_std=1e308), "single precision"),
    ],
)
def test_descriptions_that_cannot_be(copy, change, message, refused):
    changed(copy, change)
    with pytest.raises(InputError, match=message):
        load(copy)
    assert len(refused(sample.main, copy, "--out", "a.png", code=1)) < 2100


@pytest.mark.parametrize("classes", [["a", "b"], ["0"] * 10, [*"0123456789", "x"]])
def test_classes_that_the_data_do_not_have(classes, copy, refused):
    changed(copy, lambda d: d.update(classes=classes))
    message = refused(evaluate.main, copy, code=1)
    assert "names the classes" in message or "no longer those that it was trained on" in message
    with pytest.raises(InputError):
        aae_mx.resume(copy, epochs=3, quiet=True)


def test_names_that_a_run_could_not_be_read_with(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 3))
    data = aae_mx.Dataset.from_arrays(rows, np.array(["a" * 400, "b"] * 20), hold_out=True)
    with pytest.raises(InputError, match="has more than 300 characters"):
        aae_mx.fit(Config(epochs=1), tmp_path / "run", quiet=True, dataset=data)
    assert not (tmp_path / "run").exists()


def test_a_message_cannot_be_forged(copy, refused):
    changed(copy, lambda d: d["config"].update(mode="x\nError: all is well\x1b[2J" + "y" * 10_000))
    told = refused(evaluate.main, copy, code=1)
    assert "\\n" in told and "\x1b" not in told and len(told) < 2100


def test_a_changed_byte_of_the_image_cache(image_folder, tmp_path, monkeypatch):
    """It is decoded again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = Config(images=str(image_folder), image_size=28)
    before = np.array(load_dataset(config, quiet=True).train_images)
    (cache,) = tmp_path.glob("aae_mx/*/*.uint8")
    content = bytearray(cache.read_bytes())
    content[100] ^= 1
    cache.write_bytes(bytes(content))
    np.testing.assert_array_equal(load_dataset(config, quiet=True).train_images, before)
    (cache,) = tmp_path.glob("aae_mx/*/*.json")
    cache.write_text("[" * 100_000)
    np.testing.assert_array_equal(load_dataset(config, quiet=True).train_images, before)


def test_an_image_cache_that_is_cut_off_while_it_is_read(image_folder, tmp_path, monkeypatch):
    """What is gone would end the process by a signal (SIGBUS)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = Config(images=str(image_folder), image_size=28, epochs=2)
    images = load_dataset(config, quiet=True).train_images

    def cut_off(*_):
        (cache,) = tmp_path.glob("cache/aae_mx/*/*.uint8")
        os.truncate(cache, 100)

    for read in (
        lambda: aae_mx.fit(config, tmp_path / "run", quiet=True, callback=cut_off),
        lambda: list(parts(images, 5)),
    ):
        with pytest.raises(InputError) as told:
            read()
        assert "was cut off to 100 of" in str(told.value)
    assert [path.name[:16] for path in checkpoints(tmp_path / "run")] == ["checkpoint-00001"]


V2, V1 = ("memory.max", "memory.current"), V1_LIMIT


@pytest.mark.parametrize(
    ("group", "names", "most", "used", "kept", "free"),
    [
        (GROUPS[0], V2, "3000000", 1_000_000, "", 2_000_000),
        (GROUPS[0], V2, "3000000", 1_000_000, "anon 1\ninactive_file 400000\n", 2_400_000),
        (GROUPS[0], V2, "1000", 2000, "", 0),
        (GROUPS[0], V2, "max", 1_000_000, "", 8_000_000),
        (GROUPS[0], V2, "9000000", 0, "", 8_000_000),
        (GROUPS[1], V1, "3000000", 1_000_000, "total_inactive_file 300000\n", 2_300_000),
    ],
)
def test_the_memory_of_a_container(group, names, most, used, kept, free, tmp_path):
    (tmp_path / group).mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    for name, text in zip((*names, "memory.stat"), (most, str(used), kept)):
        (tmp_path / group / name).write_text(text)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 7812 kB\n")
    assert free_memory(tmp_path) == (7812 * 1024 if free == 8_000_000 else free)


def test_what_a_stranger_asks_for_is_said_before_it_is_read(copy, tmp_path):
    """Whatever follows; the option of a place says it by itself."""
    (strange := tmp_path / "of\x1ba stranger").mkdir()
    (strange / "train-images-idx3-ubyte").write_bytes(b"nothing")
    changed(copy, lambda d: d["config"].update(data_dir=str(strange)))
    told = CliRunner().invoke(plot.main, [str(copy)], catch_exceptions=False).stderr
    first, second = told.splitlines()
    assert first == rf"{copy}: reading {tmp_path}/of\x1ba stranger, which the run names"
    assert second.startswith("Error: ")
    told = CliRunner().invoke(plot.main, [str(copy), "--data-dir", str(tmp_path)]).stderr
    assert "reading" not in told
