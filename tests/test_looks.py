"""How figures look: format, pixels, colours, legend and points."""

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_plotting import figure_of, history_of

import aae_mx
from aae_mx.commands import plot
from aae_mx.errors import ConfigError
from aae_mx.model import load_data
from aae_mx.report import canvas, plotting
from aae_mx.report import figures as run_figures


@pytest.fixture
def model(supervised_run):
    """A trained model whose mode has a figure of points and one of curves."""
    model = aae_mx.load(supervised_run)
    model.mode.figures = ("qz", "losses")
    return model


@pytest.fixture(autouse=True)
def small_figures(monkeypatch):
    """Fewer pixels, which take less time."""
    monkeypatch.setattr(run_figures, "DPI_WITHIN", 40)


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, each as (figure, its Looks); their files are empty."""
    drawn = []

    def encoded(figure, looks):
        drawn.append((figure, looks))
        return b""

    monkeypatch.setattr(run_figures, "encoded", encoded)
    return drawn


# The files.


@pytest.mark.parametrize(("format", "magic"), [("pdf", b"%PDF-"), ("svg", b"<?xml ")])
def test_formats_come_out_the_same_again(model, tmp_path, format, magic):
    model.mode.figures = ("qz", "samples")
    out = run_figures.plot_run(model, tmp_path / "drawn")
    before = {path: path.read_bytes() for path in out.iterdir()}
    run_figures.plot_run(model, out, format=format)
    run_figures.plot_run(model, tmp_path / "again", format=format)
    for name in model.mode.figures:
        content = (out / f"{name}.{format}").read_bytes()
        assert content.startswith(magic) and 2000 < len(content) < 10**6
        assert content == (tmp_path / f"again/{name}.{format}").read_bytes()
        assert not re.search(rb"CreationDate|<dc:date>|Matplotlib v", content)
    assert {path: path.read_bytes() for path in before} == before, "those of before stay"
    assert len(list(out.iterdir())) == 4


def test_defaults_are_what_they_were(
    monkeypatch, coarse_figures, call, model, supervised_run, tmp_path
):
    monkeypatch.setattr(run_figures, "DPI", coarse_figures)
    run_figures.plot_run(model, tmp_path)
    for name, wanted in (("qz", [800, 800]), ("losses", [1500, 400])):
        assert size_of((tmp_path / f"{name}.png").read_bytes()) == wanted
    # With no options, the command asks for no more than that.
    seen = []
    monkeypatch.setattr(run_figures, "plot_run", lambda *arguments, **looks: seen.append(looks))
    assert call(plot.main, supervised_run)[0] == 0
    assert run_figures.Looks(**seen[0]) == run_figures.Looks()
    assert (run_figures.Looks().points, run_figures.Looks().colours) == (12_800, None)


def size_of(png):
    """Width and height, which stand in a PNG's first chunk."""
    return [int.from_bytes(png[at : at + 4], "big") for at in (16, 20)]


@pytest.mark.parametrize("pixels", [False, True])
def test_very_many_points_are_pixels(monkeypatch, pixels):
    monkeypatch.setitem(run_figures.MOST_SHAPES, "svg", 199 if pixels else 200)
    figure = figure_of(10).figure
    text = run_figures.encoded(figure, run_figures.Looks(format="svg")).decode()
    # Of each point, tick and entry of the legend.
    assert ("<image " in text) == pixels and (text.count("<use ") > 200) != pixels


@pytest.mark.slow
def test_a_post_sized_figure_is_a_megabyte_at_most(monkeypatch):
    monkeypatch.undo()
    rng = np.random.default_rng(0)
    codes, labels = rng.standard_normal((run_figures.N_POINTS, 2)), np.arange(12_800) % 10
    for format in ("pdf", "svg"):
        figure, ax = run_figures.new_figure()
        plotting.scatter_codes(codes, labels, ax=ax)
        assert len(run_figures.encoded(figure, run_figures.Looks(format=format))) < 2**20


def test_names_that_an_svg_could_take_for_something_else():
    names = ["--><script>alert(1)</script>", "]]>", "<b>&amp;", '"']
    text = run_figures.encoded(figure_of(4, names).figure, run_figures.Looks(format="svg"))
    from xml.etree import ElementTree

    tags = {element.tag.split("}")[-1] for element in ElementTree.fromstring(text).iter()}
    assert not tags & {"script", "b"}


def test_dpi(monkeypatch, coarse_figures):
    figure, _ = run_figures.new_figure(width=2, height=1)
    assert size_of(run_figures.encoded(figure, run_figures.Looks(dpi=50))) == [100, 50]
    monkeypatch.undo()
    monkeypatch.setattr(run_figures, "DPI", coarse_figures)
    assert run_figures.Looks().pixels_per_inch == 100
    assert run_figures.Looks(format="svg").pixels_per_inch == 140
    assert run_figures.Looks(format="svg", dpi=300).pixels_per_inch == 300


# Colours.

# Machado et al., 2009: how linear red, green and blue look without one kind of cones.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def nearest(colours, eyes):
    """The least distance in CIELAB of two of some colours (N, 3 or 4)."""
    rgb = np.asarray(colours)[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ np.array(eyes).T, 0, 1) @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack([116 * f[:, 1], 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return distances[np.triu_indices(len(lab), 1)].min()


def colours_of(n, name):
    return plotting.class_colours(n, name)(np.arange(n) / max(1, n - 1))


@pytest.mark.parametrize("kind", BLINDNESS)
def test_safe_colours_are_apart_for_all_eyes(kind):
    assert nearest(colours_of(10, "safe"), BLINDNESS[kind]) > 16
    if kind != "none":
        assert nearest(colours_of(10, "rainbow"), BLINDNESS[kind]) < 16


def test_safe_colours_of_few_and_of_many():
    eight = [canvas.matplotlib.colors.to_hex(colour).upper() for colour in colours_of(8, "safe")]
    assert eight == plotting.OKABE_ITO
    np.testing.assert_allclose(colours_of(1, "safe"), colours_of(8, "safe")[:1])
    for n in (2, 9, 24, 50):
        assert len(np.unique(colours_of(n, "safe"), axis=0)) == n
    assert colours_of(300, "safe").min() >= 0 and colours_of(300, "safe").max() <= 1


def test_other_colour_maps():
    viridis, tab10 = (canvas.matplotlib.colormaps[name] for name in ("viridis", "tab10"))
    np.testing.assert_allclose(colours_of(5, "viridis"), viridis(np.linspace(0, 1, 5)))
    # Of single colours, one after another and then again, none is skipped.
    np.testing.assert_allclose(colours_of(3, "tab10"), tab10([0, 1, 2]))
    np.testing.assert_allclose(colours_of(13, "tab10")[10:], tab10([0, 1, 2]))
    assert len(np.unique(colours_of(40, "viridis"), axis=0)) == 40


@pytest.mark.parametrize("name", ["sfae", "", 3, ["viridis"]])
def test_a_colour_map_that_there_is_not(name):
    with pytest.raises(ConfigError, match="expected safe, or a colour map of matplotlib"):
        run_figures.Looks(colours=name)


def test_colours_reach_classes_and_curves(figures, model, tmp_path):
    run_figures.plot_run(model, tmp_path, colours="safe")
    (codes, _), (losses, _) = figures
    points = codes.axes[0].collections[0]
    np.testing.assert_allclose(
        points.cmap(points.norm(np.arange(10))), colours_of(10, "safe"), atol=1e-9
    )
    for ax in losses.axes:
        drawn = [canvas.matplotlib.colors.to_hex(line.get_color()).upper() for line in ax.lines]
        assert drawn == plotting.OKABE_ITO[: len(drawn)]


def test_colours_are_as_before_unless_given():
    ax = plotting.loss_curves({"epoch": [1, 2], **history_of([1.0, 0.5])})[0]
    drawn = [canvas.matplotlib.colors.to_hex(line.get_color()) for line in ax.lines]
    assert drawn == ["#1f77b4", "#ff7f0e"]
    ax = plotting.scatter_codes(np.zeros((5, 2)), colours="safe")
    np.testing.assert_allclose(ax.collections[0].get_facecolor()[0], colours_of(1, "safe")[0])


# Legend and points.


@pytest.mark.parametrize("n", [10, 47])
def test_no_legend(n):
    figure = Figure(figsize=(4, 4))
    codes, labels = np.random.default_rng(0).random((200, 2)), np.arange(200) % n
    ax = plotting.scatter_codes(codes, labels, ax=figure.subplots(), legend=False)
    assert ax.get_legend() is None and figure.get_figwidth() == 4
    assert len(ax.texts) == (n if n > 12 else 0), "names at their points stay"


def test_legend_of_a_run(figures, model, tmp_path):
    run_figures.plot_run(model, tmp_path, legend=False)
    (codes, _), (losses, _) = figures
    assert codes.axes[0].get_legend() is None
    assert losses.axes[0].get_legend() is not None, "curves could not be told apart"


def test_points(monkeypatch, model):
    """Fewer points are seen from where all would be."""
    monkeypatch.setattr(run_figures, "N_POINTS", 250)
    dataset = load_data(model)
    scenes = [
        run_figures.Scene(model, dataset, 0, run_figures.Looks(points=n)) for n in (7, 250, 1000)
    ]
    few, all_of_them, more = scenes
    assert [len(scene.codes) for scene in scenes] == [7, 250, 300], "there are 300 images"
    assert [len(scene.prior) for scene in scenes] == [7, 250, 1000]
    assert (few.limit, few.extent) == (all_of_them.limit, all_of_them.extent)
    np.testing.assert_array_equal(few.codes, all_of_them.codes[:7])
    for scene in scenes:
        assert len(scene.labels) == len(scene.codes) and len(scene.pieces) == len(scene.prior)
        for name in ("pz", "qz"):
            draw, size = run_figures.FIGURES[name](scene)
            draw(run_figures.new_figure(**size)[1])


# The command.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--colours", "sfae"], "--colours sfae: expected safe, or a colour map of matplotlib"),
        (["--format", "gif"], "'gif' is not one of 'png', 'pdf', 'svg'"),
        (["--dpi", 0], "0 is not in the range"),
        (["--points", 0], "0 is not in the range"),
        (["--animate", "--format", "pdf"], "--format: it is for figures; leave out --animate"),
        (["--animate", "--points", 5], "--points: it is for figures; leave out --animate"),
    ],
)
def test_refused_before_a_run_is_read(refused, tmp_path, options, message):
    assert message in refused(plot.main, tmp_path / "nowhere", *options, code=2)


@pytest.mark.parametrize(
    ("looks", "message"),
    [
        ({"format": "gif"}, "format='gif': expected one of png, pdf, svg"),
        ({"dpi": 5000}, "dpi=5000: expected a whole number from 10 to 1,200"),
        ({"dpi": 72.5}, "dpi=72.5: expected a whole number"),
        ({"points": 0}, "points=0: expected a whole number from 1 to 1,000,000"),
    ],
)
def test_refused_in_python(tmp_path, looks, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        run_figures.plot_run(None, tmp_path / "drawn", **looks)
    assert not (tmp_path / "drawn").exists()


def test_animation_takes_colours_and_legend(monkeypatch, call, supervised_run, tmp_path):
    shutil.copytree(supervised_run, tmp_path / "run")
    seen = SimpleNamespace()

    def animate(*arguments, **looks):
        seen.looks = looks

    monkeypatch.setattr(run_figures, "animate_run", animate)
    options = ["--animate", "--colours", "safe", "--no-legend"]
    assert call(plot.main, tmp_path / "run", *options)[0] == 0
    assert seen.looks == {"colours": "safe", "legend": False}
    codes = {0: np.zeros((20, 2)), 1: np.ones((20, 2))}
    figure, ax = run_figures.new_figure()
    movie = plotting.animate_codes(codes, np.arange(20) % 4, ax=ax, **seen.looks)
    movie._draw_was_started = True
    assert ax.get_legend() is None
    points = ax.collections[0]
    np.testing.assert_allclose(points.cmap(points.norm(np.arange(4))), colours_of(4, "safe"))
