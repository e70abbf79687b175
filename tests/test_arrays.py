"""Data in arrays and tables: read, scaled, trained on, and used by every command."""

import json
import shutil

import numpy as np
import pytest
from conftest import small_config

import aae_mx
from aae_mx.commands import encode, evaluate, export, plot, sample
from aae_mx.data import Dataset, scale
from aae_mx.data.arrays import read_arrays
from aae_mx.errors import ConfigError, InputError
from aae_mx.model import load, load_data
from aae_mx.report.evaluate import evaluate as measure
from aae_mx.runs import checkpoint
from aae_mx.runs.checkpoint import checkpoints
from aae_mx.runs.history import read_history

ROWS = {"epochs": 3, "batch_size": 20, "hidden": (16,), "discriminator_hidden": (16,)}
OPTIONS = ["--epochs", 3, "--batch-size", 20, "--hidden", 16, "--discriminator-hidden", 16]


def table(n=70, seed=0):
    """Rows of five features of very different sizes, and their labels, by blobs."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.standard_normal((n, 5)) + 3 * y[:, None]
    return X * [1, 1e-3, 1e4, 1, 0] + [0, 0, 1e9, -5, 7], y


def test_scales():
    """By hand: two features of three rows."""
    X = np.array([[1.0, 10], [2, 10], [6, 10]])
    unit = scale.measure("unit", X)
    assert np.allclose(unit.apply(X), [[0, 0], [0.2, 0], [1, 0]])
    standard = scale.measure("standard", X)
    assert np.allclose(standard.apply(X)[:, 0], (X[:, 0] - 3) / np.sqrt(14 / 3))
    for kind in (unit, standard):
        assert np.allclose(kind.undo(kind.apply(X)), X)
    bytes_ = np.array([[0, 255], [51, 102]], np.uint8)
    pixels = scale.measure("pixels", bytes_)
    assert np.allclose(pixels.apply(bytes_), [[0, 1], [0.2, 0.4]])
    with pytest.raises(InputError, match="values from 1 to 10: expected bytes, or numbers in 0-1"):
        scale.measure("pixels", X)


def test_a_large_offset_loses_nothing():
    """Seconds since 1970, a minute apart, which float32 alone cannot tell from each other."""
    X = np.stack([1.7e9 + 60 * np.arange(10.0), np.arange(10.0)], axis=1)
    found = scale.measure("standard", X)
    assert np.allclose(found.apply(X)[:, 0], found.apply(X)[:, 1], atol=1e-5)
    assert np.abs(found.undo(found.apply(X)) - X).max() < 1e-3


def test_from_arrays():
    X, y = table()
    data = Dataset.from_arrays(X, np.where(y, "b", "a"))
    assert data.classes == ("a", "b") and len(data.test_images) == 0
    assert np.array_equal(data.train_labels, y) and data.image_shape == (5,)
    data = Dataset.from_arrays(X, y, hold_out=True)
    assert (len(data.train_images), len(data.test_images)) == (60, 10)
    assert {tuple(row) for row in np.concatenate([data.train_images, data.test_images])} == {
        tuple(row) for row in X
    }
    again = Dataset.from_arrays(X, y, hold_out=True)
    assert data.fingerprint() == again.fingerprint()
    assert Dataset.from_arrays(X + 1e-9, y, hold_out=True).fingerprint() != data.fingerprint()
    # Those without a label are trained on.
    some = np.where(np.arange(70) < 14, y, -1)
    data = Dataset.from_arrays(X, some, hold_out=True)
    assert len(data.test_images) == 2 and (data.test_labels >= 0).all()
    assert (data.train_labels == -1).sum() == 56
    assert data.with_classes(("1", "0")).train_labels.min() == -1


def test_names_of_a_frame():
    pandas = pytest.importorskip("pandas")
    X, y = table()
    frame = pandas.DataFrame(X, columns=list("abcde"))
    data = Dataset.from_arrays(frame, pandas.Series(y).map({0: "no", 1: "yes"}))
    assert data.feature_names == tuple("abcde") and data.classes == ("no", "yes")
    frame["f"] = "text"
    with pytest.raises(InputError, match="X: its values are not all numbers"):
        Dataset.from_arrays(frame)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda X, y: (X[0], y), r"X: an array of shape \(5,\); expected rows"),
        (lambda X, y: (X.astype(complex), y), "X: values of type complex128"),
        (lambda X, y: (np.where(X == 9, np.nan, X), y), r"X\[1, 0\] is nan: expected finite"),
        (lambda X, y: (X, y[1:]), r"y: labels of shape \(69,\); expected \(70,\)"),
        (lambda X, y: (X, y + 0.5), "y: the label 0.5; expected classes"),
        (lambda X, y: (X, y.astype(str) if y[0] else np.array(["-1"] * 70)), "the text '-1'"),
        (lambda X, y: (X, np.array([None] * 70)), "y: a label is missing; give -1"),
        (lambda X, y: (X, y, X[:5]), "y_test: there is none; give labels for both"),
        (lambda X, y: (X, y, X[:5, :4], y[:5]), r"rows are of shape \(4,\), those of X"),
        (lambda X, y: (X, y, X[:5], y[:5] - 1), "y_test: it has -1, no label"),
        (lambda X, y: (X, y, None, y[:5]), "y_test: there is no X_test"),
        (lambda X, y: (X.astype(np.uint8), y, X[:5], y[:5]), "give both as bytes"),
        (lambda X, y: (X[:0], y[:0]), "X: it holds no rows"),
    ],
)
def test_refused(change, message):
    X, y = table()
    X[1, 0] = 9
    with pytest.raises(InputError, match=message):
        Dataset.from_arrays(*change(X, y))


def test_sparse_is_refused():
    from scipy.sparse import csr_matrix

    with pytest.raises(InputError, match="X: a sparse matrix"):
        Dataset.from_arrays(csr_matrix(np.eye(4)))
    model = aae_mx.model.AAE(small_config(), (2, 2), ())
    with pytest.raises(InputError, match="sparse"):
        model.encode(csr_matrix(np.eye(4)))


def test_files(tmp_path):
    X, y = table()
    np.savez(tmp_path / "a.npz", X=X, y=y, rows=X[:30], names=y[:30])
    whole = read_arrays(tmp_path / "a.npz", hold_out=True)
    assert whole.fingerprint() == Dataset.from_arrays(X, y, hold_out=True).fingerprint()
    keys = ("rows", "names", "X", "y")
    other = read_arrays(tmp_path / "a.npz", keys)
    assert (len(other.train_images), len(other.test_images)) == (30, 70)
    (tmp_path / "d").mkdir()
    np.save(tmp_path / "d/X.npy", X)
    np.save(tmp_path / "d/y.npy", y)
    mapped = read_arrays(tmp_path / "d", hold_out=True)
    assert isinstance(mapped.train_images, np.memmap)
    assert np.array_equal(mapped.test_images, X[-10:])
    assert len(read_arrays(tmp_path / "d/X.npy").train_labels) == 70


def test_broken_files(tmp_path):
    (tmp_path / "text.npz").write_text("x")
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", X=np.array([[{}]]))
    np.savez(tmp_path / "other.npz", a=np.eye(3))
    whole = tmp_path / "cut.npz"
    np.savez(whole, X=np.eye(30))
    whole.write_bytes(whole.read_bytes()[:200])
    (tmp_path / "empty.npy").write_bytes(b"")
    for name, message in (
        ("text.npz", "cannot be read"),
        ("objects.npy", "Python objects, which are never loaded"),
        ("objects.npz", "Python objects, which are never loaded"),
        ("other.npz", r"no array 'X'; name the one with the rows by --x-key \(there: a\)"),
        ("cut.npz", "cannot be read"),
        ("empty.npy", "cannot be read"),
        ("none.npz", "there is no such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_arrays(tmp_path / name)


def test_settings():
    for settings, message in (
        ({"data": "x", "images": "y"}, "cannot be given beside --data"),
        ({"data": "x", "dataset": "y"}, "cannot be given beside --dataset"),
        ({"data": "x", "shape": (4,), "image_warp": 0.1}, "the data are rows of features"),
        ({"data": "x", "shape": (4,), "arch": "conv"}, "the data are rows of features"),
        ({"data": "x", "shape": (4,), "reconstruction": "cross_entropy"}, "values in 0-1"),
    ):
        with pytest.raises(ConfigError, match=message):
            aae_mx.Config(**settings)
    for settings in ({"shape": (3,)}, {"scale": "unit"}, {"x_key": "a"}):
        with pytest.raises(ConfigError, match="it is for arrays; give some by --data"):
            aae_mx.fit(aae_mx.Config(**settings))
    config = aae_mx.Config(data="x", shape=(4,), mode="classification", labels="all")
    assert (config.image_warp, config.image_bend, config.scale) == (0, 0, "standard")
    assert config.epochs == 100 and config.replace(epochs=5).epochs == 5


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    X, y = table(200)
    path = tmp_path_factory.mktemp("arrays") / "blobs.npz"
    np.savez(path, X=X, y=y)
    return path


@pytest.fixture(scope="module")
def run(file):
    """A run on a table, with labels."""
    path = file.parent / "run"
    config = aae_mx.Config(data=str(file), prior="gaussian_mixture", labels="all", **ROWS)
    aae_mx.fit(config, path, quiet=True)
    return path


def test_every_command(run, file, call, tmp_path, monkeypatch):
    status, output = call(evaluate.main, run)
    assert status == 0 and "in their label's piece" in output and "nan" not in output, output
    status, output = call(plot.main, run, "--out", tmp_path / "figures")
    assert status == 0, output
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert drawn == {
        f"{n}.png" for n in ("pz", "qz", "output", "reconstructions", "samples", "losses")
    }
    status, output = call(encode.main, run, "--data", file, "--out", tmp_path / "codes.npz")
    assert status == 0 and "codes of 200" in output, output
    with np.load(tmp_path / "codes.npz") as codes:
        X, y = table(200)
        assert np.array_equal(codes["x"], X)
        assert codes["xr"].shape == X.shape and np.abs(codes["xr"][:, 2] - X[:, 2]).max() < 1e5
        assert np.array_equal(codes["y"], y)
    status, output = call(sample.main, run, "--out", tmp_path / "samples.npz")
    assert status == 0, output


def test_export(run, call, tmp_path):
    """The files take values as scaled; model.json says how."""
    onnxruntime = pytest.importorskip("onnxruntime")
    status, output = call(export.main, run, "--out", tmp_path / "out")
    assert status == 0 and "held-out rows they differ" in output, output
    about = json.loads((tmp_path / "out/model.json").read_text())
    offset, size = (np.array(about["scale"][name]) for name in ("offset", "size"))
    model, (X, _) = load(run), table()
    encoder = onnxruntime.InferenceSession(str(tmp_path / "out/encoder.onnx"))
    scaled = ((X - offset) / size).astype(np.float32)
    (codes,) = encoder.run(["codes"], {"images": scaled})
    assert np.allclose(codes, model.encode(X), atol=1e-5) and "pixel_range" not in about


def test_validation_rows_without_a_label(tmp_path, call):
    """They are no errors: only those with a label are counted."""
    X, y = table()
    some = np.where(np.arange(70) % 3 > 0, y, -1)
    data = Dataset.from_arrays(X, some)
    n = int((some[:50] >= 0).sum())
    config = aae_mx.Config(**ROWS, mode="classification", labels=n, validation=20)
    model = aae_mx.fit(config, tmp_path / "run", quiet=True, dataset=data)
    images, labels = data.kept_out(20)
    assert len(labels) == (some[50:] >= 0).sum() and (labels >= 0).all()
    wrong = (model.classify(images).argmax(axis=1) != labels).mean()
    assert read_history(tmp_path / "run")["validation_error"][-1] == pytest.approx(wrong, abs=1e-5)
    assert measure(model, dataset=data, split="validation")["images"] == len(labels)


def test_a_run_goes_on(run, tmp_path):
    """From the checkpoint before the last one, to the same weights."""
    shutil.copytree(run, tmp_path / "run")
    wanted = load(tmp_path / "run").weights()
    checkpoints(tmp_path / "run")[-1].unlink()
    found = aae_mx.resume(tmp_path / "run", quiet=True).weights()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_in_memory(tmp_path):
    """A run on arrays in memory: its data are given again, or are found in a file."""
    X, y = table()
    data = Dataset.from_arrays(X, y)
    config = aae_mx.Config(**ROWS)
    model = aae_mx.fit(config, tmp_path / "run", quiet=True, dataset=data)
    assert model.config.scale == "standard" and model.config.shape == (5,)
    back = model.decode(model.encode(X))
    assert back.shape == X.shape and back.dtype == np.float64
    assert np.allclose(back[:, 4], 7, atol=1) and abs(back[:, 2].mean() - X[:, 2].mean()) < 1e5
    again = load(tmp_path / "run")
    assert np.array_equal(again.encode(X), model.encode(X))
    with pytest.raises(InputError, match="the data were arrays in memory; save them"):
        load_data(again)
    np.savez(tmp_path / "x.npz", X=X, y=y)
    assert load_data(again, data=tmp_path / "x.npz").fingerprint() == data.fingerprint()
    np.savez(tmp_path / "other.npz", X=X + 1, y=y)
    with pytest.raises(InputError, match="are not those that it was trained on"):
        load_data(again, data=tmp_path / "other.npz")
    aae_mx.resume(tmp_path / "run", quiet=True, epochs=4, dataset=data)
    other = Dataset.from_arrays(X + 1, y)
    with pytest.raises(InputError, match="the dataset is not the one"):
        aae_mx.resume(tmp_path / "run", quiet=True, epochs=5, dataset=other)
    with pytest.raises(ConfigError, match="cannot be given beside a dataset"):
        aae_mx.fit(aae_mx.Config(data="x.npz"), tmp_path / "new", dataset=data)


def test_images_in_arrays(tmp_path):
    """Rows that are images, by the shape; and images as they are."""
    rng = np.random.default_rng(0)
    X = rng.integers(256, size=(40, 48)).astype(np.uint8)
    config = small_config(limit=None, epochs=1, shape=(6, 8), dataset="arrays", image_warp=0.1)
    flat = aae_mx.fit(
        config, tmp_path / "a", quiet=True, dataset=Dataset.from_arrays(X, shape=(6, 8))
    )
    config = small_config(limit=None, epochs=1, image_warp=0.1)
    whole = aae_mx.fit(
        config, tmp_path / "b", quiet=True, dataset=Dataset.from_arrays(X.reshape(40, 6, 8))
    )
    assert flat.image_shape == whole.image_shape == (6, 8) and whole.config.scale == "pixels"
    assert np.array_equal(flat.encode(X), whole.encode(X))


def test_in_parts_as_whole(tmp_path):
    """What stays on the disk is trained on in parts, and becomes what it would have become."""
    X, y = table()
    data = Dataset.from_arrays(X, y)
    np.save(tmp_path / "X.npy", X)
    mapped = Dataset.from_arrays(np.load(tmp_path / "X.npy", mmap_mode="r"), y)
    models = [
        aae_mx.fit(aae_mx.Config(**ROWS), tmp_path / name, quiet=True, dataset=d)
        for name, d in (("a", data), ("b", mapped))
    ]
    a, b = (model.weights() for model in models)
    assert all(np.array_equal(a[name], b[name]) for name in b)


def test_start_from_another(tmp_path):
    X, y = table()
    data = Dataset.from_arrays(X)
    first = aae_mx.fit(aae_mx.Config(**ROWS), tmp_path / "a", quiet=True, dataset=data)
    config = aae_mx.Config(**{**ROWS, "epochs": 1}, reconstruction_rate=1e-12, generator_rate=1e-12)
    config = config.replace(encoder_adam="separate")
    second = aae_mx.fit(config, tmp_path / "b", quiet=True, dataset=data, start=first)
    assert np.allclose(first.encode(X), second.encode(X), atol=1e-4)
    other = aae_mx.Config(**{**ROWS, "hidden": (17,)})
    with pytest.raises(InputError, match="the model to start from has other networks"):
        aae_mx.fit(other, tmp_path / "c", quiet=True, dataset=data, start=first)


def test_some_labels(tmp_path):
    X, y = table()
    some = np.where(np.arange(70) < 20, y, -1)
    data = Dataset.from_arrays(X, some)
    how = {**ROWS, "mode": "classification"}
    model = aae_mx.fit(aae_mx.Config(**how, labels=20), tmp_path / "a", quiet=True, dataset=data)
    assert model.classify(X).shape == (70, 2)
    with pytest.raises(ConfigError, match="50 of the 70 training rows .*a number, up to 20"):
        aae_mx.fit(aae_mx.Config(**how, labels="all"), tmp_path / "b", dataset=data)
    # A mode that would then refuse a number does not ask for one.
    style = aae_mx.Config(**{**how, "mode": "style"}, labels="all")
    with pytest.raises(ConfigError, match="50 of the 70 .*--mode style needs them all"):
        aae_mx.fit(style, tmp_path / "b", dataset=data)
    with pytest.raises(ConfigError, match="only"):
        aae_mx.fit(aae_mx.Config(**how, labels=60), tmp_path / "b", dataset=data)


def test_hostile_scale(run, tmp_path):
    """A checkpoint with a right check sum, but a scale that none can be."""
    shutil.copytree(run, tmp_path / "run")
    (file, *_) = reversed(checkpoints(tmp_path / "run"))
    with np.load(file) as found:
        arrays = {name: found[name] for name in found.files if name != "sha256"}
    for bad in (0.0, np.nan, -1.0):
        arrays["scale/size"] = np.full(5, bad)
        np.savez(file, **arrays, sha256=checkpoint._digest(arrays))
        with pytest.raises(InputError, match="its scale is not finite, or not above 0"):
            load(tmp_path / "run")


def test_hostile_names(run, tmp_path, call):
    shutil.copytree(run, tmp_path / "run")
    config = tmp_path / "run/config.json"
    described = json.loads(config.read_text())
    for names in ("x", ["a"] * 4, [1] * 5, {"a": 1}):
        config.write_text(json.dumps({**described, "feature_names": names}))
        with pytest.raises(InputError, match="image_shape, classes or data are not"):
            load(tmp_path / "run")
    config.write_text(json.dumps({**described, "image_shape": [5, 1]}))
    with pytest.raises(InputError, match="image_shape, classes or data are not"):
        load(tmp_path / "run")
    names = ["$\\frac", "<b>", "\x1b[2J", "a" * 300, "名前"]
    config.write_text(json.dumps({**described, "feature_names": names}))
    status, output = call(plot.main, tmp_path / "run", "--out", tmp_path / "figures")
    assert status == 0 and "\x1b" not in output


def test_texts_as_labels_of_held_out_rows():
    X, y = table()
    names = np.where(y, "b", "a")
    data = Dataset.from_arrays(X, names, X[:6], names[:6])
    assert np.array_equal(data.test_labels, y[:6]) and data.classes == ("a", "b")
    with pytest.raises(InputError, match="y_test: it has -1, no label"):
        Dataset.from_arrays(X, names, X[:2], np.array(["a", -1], object))


def test_sorted_rows_on_the_disk(tmp_path):
    """Their last seventh would be of a class that is not trained on."""
    X, y = table()
    (tmp_path / "d").mkdir()
    np.save(tmp_path / "d/X.npy", X)
    np.save(tmp_path / "d/y.npy", np.arange(70) // 10)
    with pytest.raises(InputError, match="the rows seem to be sorted; shuffle them"):
        read_arrays(tmp_path / "d", hold_out=True)


def test_values_too_large_for_a_scale(recwarn):
    with pytest.raises(InputError, match="too large to be scaled"):
        scale.measure("standard", np.full((3, 2), 1e308))
    assert not recwarn.list
