"""Runs without held-out rows or images: figures show training ones, and numbers say why not."""

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import small_config
from test_arrays import ROWS, table
from test_report import Elements

import aae_mx
from aae_mx.commands import encode, evaluate, explore, plot, report
from aae_mx.data import Dataset
from aae_mx.report import exhibits, plotting, profiles
from aae_mx.report import figures as run_figures


def run_on(path, X, y=None, **settings):
    """A run on arrays in memory; returns the options by which commands find it and its data."""
    file = path.parent / f"{path.name}.npz"
    np.savez(file, X=X, **({} if y is None else {"y": y}))
    config = small_config(limit=None, **settings)
    aae_mx.fit(config, path, quiet=True, dataset=Dataset.from_arrays(X, y))
    return path, "--data", file


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A run that classifies; some labels are not known."""
    X, y = table(60)
    path = tmp_path_factory.mktemp("bare") / "rows"
    y = np.where(np.arange(60) < 6, -1, y)
    return run_on(path, X, y, mode="classification", labels=54, **ROWS)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    X = np.random.default_rng(0).integers(256, size=(30, 6, 8)).astype(np.uint8)
    return run_on(tmp_path_factory.mktemp("bare") / "images", X, epochs=1)


def drawn_titles(monkeypatch, name):
    """The titles that a function of plotting, or profiles, is called with from now on."""
    module = profiles if name == "show_profiles" else plotting
    titles, function = [], getattr(module, name)

    def draw(*arguments, **more):
        ax = function(*arguments, **more)
        titles.append(ax.get_title())
        return ax

    monkeypatch.setattr(module, name, draw)
    return titles


def test_figures_of_rows(rows, call, monkeypatch, tmp_path):
    confusion = drawn_titles(monkeypatch, "show_confusion")
    tables = drawn_titles(monkeypatch, "show_profiles")
    status, output = call(plot.main, *rows, "--out", tmp_path / "figures")
    assert status == 0 and "no styles.png: it is of pictures" in output, output
    # Of those with a label.
    assert confusion[0].startswith("training rows: 54, of which ")
    assert "training rows (none are held out)" in tables and "reconstructed" in tables


def test_figures_of_images(images, call, monkeypatch, tmp_path):
    pairs = drawn_titles(monkeypatch, "show_reconstructions")
    ways = drawn_titles(monkeypatch, "show_interpolations")
    assert call(plot.main, *images, "--out", tmp_path / "figures")[0] == 0
    assert pairs == ["training images, each with its reconstruction (none are held out)"]
    assert ways[0].startswith("from a training image (left) to another")
    history = aae_mx.runs.history.read_history(images[0])
    assert "held_out_l2" not in history
    panels = plotting.loss_panels(history)
    assert list(next(iter(panels.values()))) == ["reconstruction_l2"]


def test_evaluate(rows, images, refused):
    for run, nouns in ((rows, "rows"), (images, "images")):
        message = refused(evaluate.main, *run, code=1)
        assert f"no {nouns} are held out" in message and "--validation N" in message
        assert "were kept out" in refused(evaluate.main, *run, "--split", "validation", code=1)


def test_encode(rows, call, refused, tmp_path):
    """The run finds its own data where it was trained by --data; else --split says which."""
    out = tmp_path / "codes.npz"
    message = refused(encode.main, *rows, "--split", "test", "--out", out, code=2)
    assert "--split test: no rows are held out; take --split train" in message
    assert not out.exists()
    assert call(encode.main, *rows, "--split", "train", "--out", out)[0] == 0
    assert np.load(out)["qz"].shape[0] == 60


def test_encode_by_default(images, refused, tmp_path, monkeypatch):
    data = aae_mx.model.load_data(aae_mx.load(images[0]), data=images[2])
    monkeypatch.setattr(aae_mx.model, "load_data", lambda *arguments, **more: data)
    message = refused(encode.main, images[0], "--out", tmp_path / "codes.csv", code=2)
    assert "no images are held out; take --split train" in message


def test_report(rows, images, call, tmp_path):
    for run, nouns in ((rows, "rows"), (images, "images")):
        out = tmp_path / f"{nouns}.html"
        assert call(report.main, *run, "--out", out)[0] == 0
        text = out.read_text("utf-8")
        found = Elements(text)
        assert f"<p>no {nouns} are held out, so there are none to measure it on;" in text
        assert "could not be drawn" not in text and str(run[0].parent) not in text
        assert f'<th scope="row">{nouns}</th><td>{60 if nouns == "rows" else 30} for' in text
        shown = {"rows": "Training rows, and beside", "images": "Training images, each with"}
        assert f"<figcaption>{shown[nouns]}" in text
        assert "eld-out" not in text and not {"{what}", "{What}"} & set(found.texts)


def test_explore(rows, call, tmp_path):
    status, output = call(explore.main, *rows, "--out", tmp_path / "a.html")
    assert status == 0 and "60 of 60 training rows, as no rows are held out." in output, output


def test_animation(refused, tmp_path):
    X, _ = table(30)
    data = Dataset.from_arrays(X)
    config = aae_mx.Config(**{**ROWS, "epochs": 1})
    aae_mx.fit(config, tmp_path / "run", quiet=True, dataset=data, snapshots=True)
    np.savez(tmp_path / "x.npz", X=X)
    run = tmp_path / "run", "--data", tmp_path / "x.npz"
    assert "no rows are held out, so none can move" in refused(plot.main, *run, "--animate", code=1)


def test_the_validation_comes_before_the_training(tmp_path):
    """Of both it is what the training has not seen; the numbers of rows are told, too."""
    X, y = table(40)
    data = Dataset.from_arrays(X, np.where(np.arange(40) % 2, y, -1))

    def model(**settings):
        config = small_config(limit=None, shape=(5,), dataset="arrays", **settings)
        return aae_mx.model.AAE(config, (5,), data.classes)

    few = exhibits.held_out(model(validation=10), data, 4)
    assert few.what == "validation" and np.array_equal(few.images, X[30:34])
    few = exhibits.held_out(model(), data, 4)
    assert few.what == "training" and few.numbers.tolist() == [0, 13, 26, 39]
    assert np.array_equal(few.images, X[few.numbers])
    # Who has to be told the label is shown none without.
    few = exhibits.held_out(model(mode="style", validation=10), data)
    assert few.numbers.tolist() == [1, 3, 5, 7, 9] and (few.labels == 0).all()
    held_out = Dataset.from_arrays(X, y, X[:7], y[:7])
    assert exhibits.held_out(model(validation=10), held_out, 9).what == "held-out"


def test_figures_of_images_of_another_scale(monkeypatch, tmp_path):
    """They are shown from the lowest to the highest value of the data, decoded ones, too."""
    X = np.random.default_rng(0).standard_normal((30, 6, 8)) * 50 + 1000
    run, _, file = run_on(tmp_path / "run", X, scale="unit", dataset="arrays", shape=(6, 8))
    model = aae_mx.load(run)
    dataset = aae_mx.model.load_data(model, data=file)
    shown = []
    monkeypatch.setattr(
        plotting, "show_reconstructions", lambda *arguments: shown.extend(arguments)
    )
    scene = run_figures.Scene(model, dataset)
    draw, _ = run_figures.figure_of(scene, "reconstructions")
    draw(None)
    originals, again, *_ = shown
    first = (X - X.min()) / (X.max() - X.min())
    assert np.allclose(originals, first[: len(originals)], atol=1e-6) and len(originals) == 30
    wanted = (model.reconstruct(X) - X.min()) / (X.max() - X.min())
    assert np.allclose(again, np.clip(wanted, 0, 1), atol=1e-6) and 0.2 < again.mean() < 0.8


def test_many_kinds_make_no_endless_figure():
    config = small_config(limit=None, mode="clustering", clusters=500, shape=(5,), dataset="arrays")
    model = aae_mx.model.AAE(config, (5,), ())
    scene = SimpleNamespace(model=model, kinds=model.mode.kinds, seed=0, shape=(5,))
    for name in ("samples", "clusters"):
        draw, size = profiles.FIGURES[name](scene)
        assert size["height"] < 20
        figure, axes = run_figures.new_figure(**size)
        draw(axes)
        assert len(axes.get_yticks()) == profiles.MOST_KINDS
        assert axes.get_title().endswith("decoded, the first 100 of 500")
