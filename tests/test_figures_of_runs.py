"""Figures of runs that are few, strange or full of classes, and where something fails."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import small_config, small_options, write_idx
from PIL import Image
from test_commands import FIGURES
from test_conv import conv_options
from test_plotting import HOSTILE

import aae_mx
from aae_mx import files, sample, train
from aae_mx.commands import evaluate, explore, plot
from aae_mx.report import figures as run_figures
from aae_mx.report import plotting

WITHOUT = ("losses", "output", "pz", "qz", "reconstructions", "samples")


def draw_pictures(folder, names):
    """A picture of its own for each path."""
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(9, 9, 3)).astype(np.uint8)).save(folder / name)


def drawn(directory):
    return sorted(path.stem for path in directory.iterdir())


# Where drawing fails.


@pytest.mark.slow
def test_a_display_that_is_not_there(supervised_run, tmp_path):
    """What the shell of a notebook inherits. Nor is a terminal of Latin-1 in the way."""
    environment = {"MPLBACKEND": "module that is not there", "PYTHONIOENCODING": "latin-1"}
    result = subprocess.run(
        [sys.executable, "-m", "aae_mx.plot", supervised_run, "--out", tmp_path / "drawn"],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    assert drawn(tmp_path / "drawn") == [*FIGURES, "walks"]


def test_one_place_imports_matplotlib():
    """It is where the display is put out of the way."""
    for file in Path(aae_mx.__file__).parent.glob("*.py"):
        lines = file.read_text("utf-8").splitlines()
        importing = [line for line in lines if re.match(r"\s*(import|from) matplotlib", line)]
        assert bool(importing) == (file.name == "canvas.py"), file


def test_a_figure_that_fails(monkeypatch, refused, supervised_run, tmp_path):
    def fail(*arguments):
        raise ValueError("no\ncolours")

    monkeypatch.setattr(plotting, "scatter_prior", fail)
    monkeypatch.setattr(plotting, "show_plane", lambda *arguments: 1 / 0)
    message = refused(plot.main, supervised_run, "--out", tmp_path, code=1)
    assert (
        f"{tmp_path}: not all figures could be drawn: pz.png: no colours; output.png: " in message
    )
    assert drawn(tmp_path) == sorted({*FIGURES, "walks"} - {"pz", "output"})


def test_a_full_disk(monkeypatch, call, tmp_path):
    """The training has ended well, so it ends as one; a line says what is missing."""

    def full(path, write):
        def fail(file):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        original(path, fail if path.suffix == ".png" else write)

    original = files.write_aside
    monkeypatch.setattr(files, "write_aside", full)
    out = tmp_path / "run"
    status, output = call(train.main, *small_options(epochs=1), "--out", out, "--quiet")
    assert status == 0 and output.count("\n") == 1
    every = "pz.png, qz.png, output.png, reconstructions.png, samples.png, interpolations.png"
    assert output.startswith("Warning: ") and f"{every}, losses.png: cannot be written" in output
    assert output.strip().endswith(
        f"the run is whole, draw again with: python -m aae_mx.plot {out}"
    )
    monkeypatch.undo()
    assert call(plot.main, out)[0] == 0 and drawn(out / "figures") == list(FIGURES)


def test_a_directory_that_cannot_be_made(call, refused, supervised_run, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused(plot.main, supervised_run, "--out", tmp_path / "file/figures", code=1)
    assert "file/figures: cannot be made" in message and "file is no directory" in message


# Few images.


@pytest.mark.parametrize("names", [("a.png", "b.png"), ("x/a.png", "x/b.png", "y/c.png")])
def test_two_or_three_pictures(call, refused, tmp_path, names):
    """Of which one is held out."""
    draw_pictures(tmp_path / "few", names)
    labels = ["--labels", "--prior", "uniform"] if len(names) == 3 else []
    run = tmp_path / "run"
    status, output = call(
        train.main, *conv_options(tmp_path / "few", epochs=1), *labels, "--snapshots", "--out", run
    )
    assert status == 0, output
    assert "no interpolations.png: it needs two held-out images, and there is one" in output
    assert drawn(run / "figures") == sorted(WITHOUT)
    assert call(plot.main, run, "--animate")[0] == 0
    assert call(sample.main, run, "-n", 3, "--out", tmp_path / "samples.png")[0] == 0
    status, output = call(explore.main, run)
    assert status == 0 and "nan" not in output and "1 of 1 held-out images" in output
    assert "1 held-out image: at least two are needed" in refused(evaluate.main, run, code=1)


def test_a_handful_of_idx(call, tmp_path):
    """Two held-out images, a label without any training image, and equal images."""
    for part, labels in (("train", [0, 0, 2]), ("t10k", [2, 1])):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", np.full((len(labels), 4, 4), 9))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    run = tmp_path / "run"
    settings = small_options(epochs=1, data_dir=tmp_path, prior="gaussian_mixture", code_dim=4)
    status, output = call(train.main, *settings, "--labels", "--snapshots", "--out", run)
    assert status == 0 and drawn(run / "figures") == [*FIGURES, "walks"], output
    assert call(plot.main, run, "--animate")[0] == 0
    status, output = call(explore.main, run)
    assert status == 0 and "nan" not in output and "principal components, the rest" in output
    status, output = call(evaluate.main, run)
    assert status == 0 and "say nothing of neighbours" in output and "nan" not in output


# Names of classes.


def test_folders_of_any_name(call, refused, tmp_path):
    names = [name[:200] for name in HOSTILE if name and "\x1b" not in name]
    draw_pictures(tmp_path / "any", [f"{name}/{i}.png" for name in names for i in range(4)])
    run = tmp_path / "run"
    labels = ["--labels", "--prior", "gaussian_mixture", "--snapshots"]
    status, output = call(
        train.main, *conv_options(tmp_path / "any", epochs=1), *labels, "--out", run
    )
    assert status == 0 and "Warning" not in output, output
    assert drawn(run / "figures") == [*FIGURES, "walks"]
    assert len(aae_mx.load(run).classes) == len(names)
    assert call(plot.main, run, "--animate")[0] == 0
    assert call(explore.main, run)[0] == 0
    message = refused(sample.main, run, "--label", "dog", "--out", tmp_path / "a.png", code=2)
    assert "A$AP Ke$ha" in message and "line\\nbreak" in message and "caf" in message


def test_what_no_font_has_is_said(monkeypatch, call, supervised_run, tmp_path):
    from aae_mx.report import canvas

    monkeypatch.setattr(canvas, "fonts", lambda names: (("sans-serif",), frozenset("犬猫")))
    status, output = call(plot.main, supervised_run, "--out", tmp_path)
    assert status == 0
    assert (
        "□ stands in figures for characters of class names that no installed font has: " in output
    )


# Many classes.


def scene(model):
    about = {"classes": model.classes, "kinds": model.mode.kinds, "shape": model.image_shape}
    return SimpleNamespace(model=model, seed=0, pixels=lambda images: images, **about)


def test_samples_of_many_classes(monkeypatch):
    classes = [str(i) for i in range(30)]
    config = small_config(prior="uniform", labels="all")
    model = aae_mx.model.AAE(config, (4, 4), classes)
    shown = []
    monkeypatch.setattr(plotting, "show_samples", lambda *arguments: shown.extend(arguments))
    draw, size = run_figures._samples(scene(model))
    draw(None)
    samples, names, blocks, _ = shown
    assert samples.shape == (30, 3, 4, 4) and names == tuple(classes) and blocks == 3
    assert size == {"height": pytest.approx(0.4 + 8 * 10 / 12)}
    label = model.sample(90, np.repeat(np.arange(30), 3), seed=0)
    np.testing.assert_array_equal(samples.reshape(90, 4, 4), label)


@pytest.mark.parametrize(
    ("n", "columns", "rows"), [(2, 10, 10), (3, 9, 11), (10, 10, 10), (12, 12, 8)]
)
def test_samples_of_some_classes(monkeypatch, n, columns, rows):
    """Each column has one class, and the last row is full."""
    model = aae_mx.model.AAE(
        small_config(prior="uniform", labels="all"), (28, 28), "abcdefghijkl"[:n]
    )
    shown = []
    monkeypatch.setattr(plotting, "show_images", lambda *arguments: shown.extend(arguments))
    draw, size = run_figures._samples(scene(model))
    draw(None)
    assert shown[1] == columns and shown[0].shape == (rows * columns, 28, 28) and size == {}
