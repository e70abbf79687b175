import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import create, small_config

import aae_mx
from aae_mx.backend import context
from aae_mx.data import load_dataset
from aae_mx.errors import AAEError, ConfigError, InputError
from aae_mx.files import write_aside
from aae_mx.model import load
from aae_mx.runs.checkpoint import _digest, checkpoints
from aae_mx.runs.history import read_history

LAST = "checkpoints/checkpoint-00002-0000000.npz"


def damaged(run, tmp_path, name, contents):
    """A copy of a run in which one file has other contents (None: it is missing)."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    if contents is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(contents)
    return copy


def test_what_a_run_leaves(supervised_run):
    files = {path.name for path in supervised_run.iterdir()}
    assert files == {".lock", "config.json", "history.csv", "checkpoints", "train.log"}
    assert [path.name for path in checkpoints(supervised_run)] == [
        "checkpoint-00001-0000000.npz",
        "checkpoint-00002-0000000.npz",
    ]
    description = json.loads((supervised_run / "config.json").read_text())
    assert description["config"]["prior"] == "swiss_roll"
    assert description["config"]["seed"] == 0 and "labels" in description["given"]
    assert (description["format"], description["recipe"]) == (7, "perceptrons with labels")
    assert "recipe: perceptrons with labels\n" in (supervised_run / "train.log").read_text()
    assert description["classes"] == list("0123456789")
    history = read_history(supervised_run)
    assert list(history) == [
        "epoch",
        "reconstruction_loss",
        "reconstruction_l2",
        "discriminator_entropy",
        "discriminator_accuracy",
        "generator_entropy",
        "generator_accuracy",
        "held_out_l2",
        "seconds",
    ]
    assert history["epoch"] == [1, 2]
    assert len((supervised_run / "train.log").read_text().splitlines()) == 4


def test_checkpoint_holds_weights_and_states_without_a_pickle(supervised_run):
    with np.load(supervised_run / LAST, allow_pickle=False) as arrays:
        names = set(arrays.files)
        assert all(np.issubdtype(arrays[name].dtype, np.number) for name in names)
        assert arrays["epoch"] == 2
        # 300 images in batches of 50, twice.
        assert arrays["adam/generator/steps"] == 12
    assert "encoder/layers.0.weight" in names and "adam/decoder/mean/layers.1.bias" in names


def test_load_gives_the_same_codes_bit_for_bit(tmp_path):
    model = aae_mx.fit(small_config(prior="uniform", labels=50), tmp_path / "run", quiet=True)
    images = load_dataset(model.config).test_images
    loaded = aae_mx.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.encode(images), model.encode(images))
    np.testing.assert_array_equal(loaded.reconstruct(images), model.reconstruct(images))
    assert loaded.config == model.config and loaded.classes == model.classes


def test_encode_decode_sample(supervised_run):
    model = load(supervised_run)
    images = load_dataset(model.config).test_images
    codes = model.encode(images)
    assert codes.shape == (300, 2) and codes.dtype == np.float32
    flat = images.reshape(300, -1)
    np.testing.assert_array_equal(model.encode(flat), codes)
    np.testing.assert_allclose(model.encode(flat / 255), codes, rtol=1e-4, atol=1e-6)
    decoded = model.decode(codes)
    assert decoded.shape == (300, 28, 28) and 0 <= decoded.min() and decoded.max() <= 1
    assert model.sample(7).shape == (7, 28, 28)
    np.testing.assert_array_equal(model.sample(7, seed=1), model.sample(7, seed=1))
    _, labels = model.sample_prior(4, labels=[1, 2, 3, 9])
    np.testing.assert_array_equal(labels, [1, 2, 3, 9])
    _, labels = model.sample_prior(3, labels=5)
    np.testing.assert_array_equal(labels, [5, 5, 5])


def test_no_images_and_no_codes(supervised_run):
    model = load(supervised_run)
    assert model.encode(np.zeros((0, 784), np.uint8)).shape == (0, 2)
    assert model.decode(np.zeros((0, 2))).shape == (0, 28, 28)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda m: m.encode(np.zeros((3, 783))), r"shape \(3, 783\): expected \(N, 784\) or"),
        (lambda m: m.encode(np.zeros((3, 28, 28), int)), "type int64: expected uint8 or floats"),
        (lambda m: m.encode(np.full((3, 784), 255.0)), "pixels from 255.0 to 255.0: expected"),
        (lambda m: m.encode(np.full((3, 784), np.nan)), "pixels from nan"),
        (lambda m: m.decode(np.zeros((3, 3))), r"shape \(3, 3\): expected \(N, 2\)"),
        (lambda m: m.decode(np.full((3, 2), np.inf)), "expected finite numbers"),
        (lambda m: m.sample(3, labels=10), "label 10: expected 0 to 9"),
        (lambda m: m.sample(3, labels=[1, 2]), r"labels of shape \(2,\)"),
        (lambda m: m.sample(-1), "n=-1"),
    ],
)
def test_bad_arrays(supervised_run, use, message):
    with pytest.raises(InputError, match=message):
        use(load(supervised_run))


def test_labels_mean_nothing_to_an_unsupervised_run(unsupervised_run):
    with pytest.raises(InputError, match="trained without labels"):
        load(unsupervised_run).sample(3, labels=1)


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("config.json", None, "no run here"),
        ("config.json", b"{", "config.json: cannot be read"),
        ("config.json", b"\xff\xfe", "config.json: cannot be read"),
        ("config.json", b"[]", "config.json: cannot be read"),
        ("config.json", b'{"format": 6}', "'image_shape' is missing"),
        ("config.json", b"[" * 10**5, "config.json: cannot be read"),
        ("config.json", b" " * (10**6 + 1), "config.json: it is larger than 1,000,000 bytes"),
        ("config.json", b'{"format": 1, "version": "0.0"}', "format 1 of aae_mx 0.0; this is"),
        ("config.json", b'{"format": 2, "version": "0.1"}', "format 2 of aae_mx 0.1; this is"),
        ("config.json", b'{"format": 3, "version": "0.1"}', "format 3 of aae_mx 0.1; this is"),
        ("config.json", b'{"format": 4, "version": "0.1"}', "format 4 of aae_mx 0.1; .*run again"),
        ("config.json", b'{"format": 5, "version": "0.1"}', "format 5 of aae_mx 0.1; this is"),
        ("config.json", b'{"format": 9, "version": "7.1"}', "format 9 of aae_mx 7.1; this is"),
        (LAST, b"", "has 0 bytes, but the networks of config.json need"),
        (LAST, b"PK" + bytes(500_000), "cannot be read .*; to go back to checkpoint-00001-0000000"),
        (LAST, bytes(10**7), "is larger than a checkpoint of this run can be"),
        ("history.csv", b"epoch,seconds\n1,fast\n", "history.csv: cannot be read"),
        ("history.csv", b"epoch,seconds\n1\n", "history.csv: cannot be read"),
        ("history.csv", b"seconds\n1\n", "history.csv: cannot be read"),
    ],
)
def test_damaged_runs(supervised_run, tmp_path, name, contents, message):
    copy = damaged(supervised_run, tmp_path, name, contents)
    with pytest.raises(InputError, match=message):
        load(copy)
        read_history(copy)


def test_config_with_a_bad_value(supervised_run, tmp_path):
    text = (supervised_run / "config.json").read_text().replace('"swiss_roll"', '"cauchy"')
    copy = damaged(supervised_run, tmp_path, "config.json", text.encode())
    with pytest.raises(InputError, match="config.json: prior='cauchy': expected one of"):
        load(copy)


def test_checkpoint_of_other_networks(supervised_run, tmp_path):
    text = (supervised_run / "config.json").read_text()
    copy = damaged(supervised_run, tmp_path, "config.json", text.replace("  32,", "  31,").encode())
    with pytest.raises(InputError, match=r"announces .*\(32, 784\).*, expected .*\(31, 784\)"):
        load(copy)


def test_absurd_networks_are_not_made(supervised_run, tmp_path):
    text = (supervised_run / "config.json").read_text().replace("  32,", "  65536,\n  65536,")
    copy = damaged(supervised_run, tmp_path, "config.json", text.encode())
    with pytest.raises(InputError, match="the networks of config.json need [0-9,]{14,}"):
        load(copy)


def rewritten(run, tmp_path, change, save=np.savez):
    """A copy of a run whose last checkpoint has arrays changed by ``change``, but is whole."""
    copy = damaged(run, tmp_path, "history.csv", b"")
    with np.load(copy / LAST) as arrays:
        arrays = dict(arrays)
    change(arrays)
    save(copy / LAST, **arrays)
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("epoch"), "'epoch.npy' is missing"),
        (lambda a: a.update(more=np.zeros(1)), "'more.npy' is not one of"),
        (lambda a: a.update({"../../x": np.zeros(1)}), "'../../x.npy' is not one of"),
        (lambda a: a["encoder/layers.0.weight"].__setitem__((0, 0), 7), "check sum is wrong"),
        (lambda a: a.update(epoch=np.array(2, np.int16)), "announces {'descr': '<i2'"),
        (
            lambda a: a.update({"encoder/layers.0.weight": np.array([{"a": 1}], object)}),
            r"announces {'descr': '\|O'",
        ),
    ],
)
def test_arrays_that_do_not_belong(supervised_run, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load(rewritten(supervised_run, tmp_path, change))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epoch", -1, "it counts epochs or steps below 0"),
        ("step", -1, "it counts epochs or steps below 0"),
        ("adam/encoder/steps", -5, "it counts epochs or steps below 0"),
        ("adam/encoder/steps", 2**62, "below 0, or beyond reason"),
        ("epoch", 1, "it is of another epoch or step than its name says"),
        ("step", 3, "it is of another epoch or step than its name says"),
        ("encoder/layers.0.weight", np.nan, "numbers that are not finite, or beyond reason"),
        ("encoder/layers.0.weight", 1e30, "numbers that are not finite, or beyond reason"),
    ],
)
def test_positions_that_cannot_be(supervised_run, tmp_path, name, value, message):
    """Whole files, with a check sum that fits, from somebody who wants to do harm."""

    def change(arrays):
        arrays[name] = np.full_like(arrays[name], value)
        del arrays["sha256"]
        arrays["sha256"] = _digest(arrays)

    copy = rewritten(supervised_run, tmp_path, change)
    with pytest.raises(InputError, match=message):
        aae_mx.resume(copy, epochs=3, quiet=True)


def test_compressed_checkpoints_are_refused(supervised_run, tmp_path):
    """The only way to make a small file large; this project never writes them."""

    copy = rewritten(supervised_run, tmp_path, lambda arrays: None, np.savez_compressed)
    with pytest.raises(InputError, match="is compressed, which a checkpoint is not"):
        load(copy)


@pytest.mark.parametrize("bit", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_flipped_bits_are_noticed(supervised_run, tmp_path, bit):
    """One bit in the middle of each of a hundred stretches: refused, or the same weights."""
    whole = (supervised_run / LAST).read_bytes()
    wanted = load(supervised_run).encode(np.zeros((1, 784)))
    copy = damaged(supervised_run, tmp_path, "history.csv", b"")
    refused = 0
    for place in range(0, len(whole), len(whole) // 100):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << bit
        (copy / LAST).write_bytes(flipped)
        try:
            np.testing.assert_array_equal(load(copy).encode(np.zeros((1, 784))), wanted)
        except InputError as error:
            assert "checkpoint-00002-0000000.npz" in str(error)
            refused += 1
    assert refused > 90


@pytest.mark.parametrize("name", ["config.json", "checkpoints"])
def test_links_out_of_the_run_are_not_followed(supervised_run, tmp_path, name):
    copy = damaged(supervised_run, tmp_path, "history.csv", b"")
    (copy / name).rename(tmp_path / name)
    (copy / name).symlink_to(tmp_path / name)
    with pytest.raises(InputError, match="is a link that leads out of the run"):
        load(copy)


def test_links_are_not_written_through(supervised_run, tmp_path):
    copy = damaged(supervised_run, tmp_path, "history.csv", b"")
    letter = tmp_path / "letter.txt"
    for name in (".lock", "train.log", ".config.json.tmp"):
        letter.write_text("mine")
        (copy / name).unlink(missing_ok=True)
        (copy / name).symlink_to(letter)
        try:
            aae_mx.resume(copy, epochs=3, quiet=True)
        except (AAEError, OSError):
            pass
        assert letter.read_text() == "mine", name
        (copy / name).unlink(missing_ok=True)


def test_directory_in_use_is_refused(tmp_path):
    model = aae_mx.model.AAE(small_config(), (28, 28), "0123456789")
    with create(model, tmp_path / "run"):
        with pytest.raises(InputError, match="another process is training there"):
            create(model, tmp_path / "run")
    # Released, but not empty: still not overwritten.
    with pytest.raises(InputError, match="not overwritten; choose another --out"):
        create(model, tmp_path / "run")


def test_foreign_directory_stays_untouched(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    model = aae_mx.model.AAE(small_config(), (28, 28), "0123456789")
    with pytest.raises(InputError, match="not overwritten"):
        create(model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_run_of_another_device_loads_here(supervised_run, tmp_path):
    text = (supervised_run / "config.json").read_text().replace('"cpu"', '"gpu(3)"')
    copy = damaged(supervised_run, tmp_path, "config.json", text.encode())
    images = np.zeros((1, 784), np.uint8)
    np.testing.assert_array_equal(load(copy).encode(images), load(supervised_run).encode(images))


def test_unreadable_config(supervised_run, tmp_path):
    copy = damaged(supervised_run, tmp_path, "config.json", None)
    (copy / "config.json").mkdir()
    with pytest.raises(InputError, match="config.json: it is no ordinary file"):
        load(copy)


def test_default_names_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("gaussian_unsupervised", "gaussian_unsupervised-2", "gaussian_unsupervised-3"):
        model = aae_mx.model.AAE(small_config(), (28, 28), "0123456789")
        with create(model) as run:
            assert str(run.path) == f"runs/{name}"


def test_write_aside_keeps_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"new")
        raise OSError("disk full")

    with pytest.raises(InputError, match="file: cannot be written .disk full"):
        write_aside(path, write)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_write_aside_is_not_interrupted(tmp_path):
    # A shell lets jobs in the background ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def write(file):
        os.kill(os.getpid(), signal.SIGINT)
        file.write(b"whole")

    try:
        with pytest.raises(KeyboardInterrupt):
            write_aside(tmp_path / "file", write)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_devices():
    assert context("cpu").device_type == "cpu"
    with pytest.raises(ConfigError, match=r"ctx='gpu\(7\)': MXNet sees \d+ GPUs here"):
        context("gpu(7)")


def python(code, **environment):
    """Run ``code`` in a new Python, without the thread settings of this one."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if "NUM_THREADS" not in name and "NTHREADS" not in name
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**inherited, **environment},
    )


@pytest.mark.parametrize(
    "module", ["priors", "report.plotting", "config", "modes", "data", "train", "__main__"]
)
def test_importing_does_not_load_mxnet(module):
    result = python(f"import sys, aae_mx.{module}; sys.exit('mxnet' in sys.modules)")
    assert result.returncode == 0, result.stderr


def test_threads_are_set_unless_the_user_did():
    code = "import os; from aae_mx.backend import mx; print(os.environ['OMP_NUM_THREADS'])"
    assert python(code, OMP_NUM_THREADS="7").stdout.strip() == "7"
    code = code.replace("OMP_NUM_THREADS", "MXNET_CPU_WORKER_NTHREADS")
    assert python(code).stdout.strip() == "1"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="counts threads in /proc")
def test_release_threads():
    """Or libgomp would see more threads than cores, and training would wait for them."""
    code = """
import os
import time
import numpy as np
from aae_mx.backend import mx, release_threads
mx.nd.zeros(1).wait_to_read()
mx.nd.array(np.ones((3000, 1000), np.float32)).wait_to_read()
before = len(os.listdir("/proc/self/task"))
release_threads()
# A thread that has ended may stay in the list for a moment.
end = time.monotonic() + 10
while before - len(os.listdir("/proc/self/task")) < 2 and time.monotonic() < end:
    time.sleep(0.01)
print(before - len(os.listdir("/proc/self/task")))
"""
    assert python(code, OMP_NUM_THREADS="3").stdout.strip() == "2"


@pytest.mark.slow
@pytest.mark.skipif(
    (platform.system(), platform.machine())
    not in [("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "x86_64")],
    reason="the mode of the processor is not known",
)
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="counts threads in /proc")
def test_threads_sleep_while_a_team_of_more_than_the_cores_exists():
    code = """
import os
from aae_mx.backend import let_threads_sleep, mx, release_threads
mx.nd.waitall()
count = lambda: len(os.listdir("/proc/self/task"))
before = count()
for _ in range(3):
    let_threads_sleep()
    print(count() - before)
"""
    cores = os.cpu_count()
    lines = python(code, OMP_NUM_THREADS="2").stdout.split()
    assert lines in ([str(cores)] * 3, ["0"] * 3), "one team, or none with another OpenMP library"
    assert python(code, OMP_NUM_THREADS="1").stdout.split() == ["0"] * 3


def test_only_mxnet_gets_the_names_that_numpy_removed():
    """A program that looks whether NumPy has them must go on as without this package."""
    code = """
import warnings
import numpy as np

names = "bool int PZERO NINF NaN product alltrue in1d trapz round_ msort".split()
def has():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(name, getattr(np, name, None)) for name in names]
before = has()
from aae_mx.backend import mx
import mxnet.gluon.contrib.estimator
assert has() == before
assert mx.np.trapz(mx.np.array([1.0, 2.0, 3.0])) == 4
assert mx.np.in1d(mx.np.array([1, 2]), mx.np.array([2])).asnumpy().tolist() == [False, True]
try:
    np.there_is_no_such_name
except AttributeError as error:
    print(error)
"""
    result = python(code)
    assert "there_is_no_such_name" in result.stdout, result.stderr


def test_scikit_learn_is_loaded_only_where_it_is_used():
    """It takes as long as half of MXNet; afterwards, and in other threads, it is there."""
    code = """
import sys, threading
from importlib import import_module
other = threading.Thread(target=import_module, args=["sklearn.base"])
from aae_mx.backend import mx
assert mx.model.FeedForward and "sklearn" not in sys.modules
finders = len(sys.meta_path)
from aae_mx.backend import _without_scikit_learn
with _without_scikit_learn():
    try:
        import sklearn
    except ImportError:
        print("not found", flush=True)
    other.start()
    other.join()
print("sklearn.base" in sys.modules, len(sys.meta_path) == finders)
"""
    result = python(code)
    assert result.stdout.split("\n")[:2] == ["not found", "True True"], result.stderr


def test_importing_warns_of_nothing():
    assert python("import aae_mx.backend").stderr == ""


def test_another_python_is_told_so():
    code = "import sys; sys.version_info = (3, 8, 0); import aae_mx"
    result = python(code)
    assert result.returncode == 1
    assert "needs Python 3.9 or later; this is Python 3.8" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_folder_above_a_clone_of_this_name_does_not_hide_the_package(tmp_path):
    """There Python sees a folder aae_mx first, which is no package but holds it."""
    (tmp_path / "aae_mx").symlink_to(Path(__file__).parent.parent)
    code = "import aae_mx; print(aae_mx.__version__, aae_mx.Config().prior)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.stdout == f"{aae_mx.__version__} gaussian\n", result.stderr


def test_missing_mxnet_is_told():
    code = """
import sys
from pathlib import Path
sys.modules["mxnet"] = None
from aae_mx.errors import InputError
try:
    import aae_mx.model
except InputError as error:
    print(error)
"""
    message = python(code).stdout
    assert "'make setup', or by hand: python -m pip install --no-deps mxnet==1.9.1" in message
