import io
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from aae_mx import priors
from aae_mx.report import canvas, plotting

# Names of classes that a renderer could take for something else.
HOSTILE = [
    *("A$AP Ke$ha", "$5_$10", "$\\frac{", "\\$1", "_hidden", "a^b_c", "line\nbreak"),
    *("caf\udce9", "\x1b[2J", "x" * 300, "猫", "كلب", "😀🦄", ""),
]
SHOWN = [
    *("A$AP Ke$ha", "$5_$10", "$\\frac{", "\\$1", "_hidden", "a^b_c", "line\\nbreak"),
    *("caf\\xe9", "\\x1b[2J", "x" * 23 + "…"),
]


def drawn(figure):
    """Draw a figure, without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="png", dpi=100)


def figure_of(n, classes=None, size=plotting.FIGURE_INCHES):
    """A figure of codes of ``n`` classes, each somewhere on a circle; its axes."""
    labels = np.arange(20 * n) % n
    angle = 2 * np.pi * labels / n
    codes = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    figure = Figure(figsize=(size, size), layout="constrained")
    return plotting.scatter_codes(codes, labels, classes, limit=2, ax=figure.subplots())


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_scatter_codes_shows_every_point_in_its_colour():
    codes, labels = np.random.default_rng(0).random((50, 2)), np.arange(50) % 3
    ax = plotting.scatter_codes(codes, labels, ["a", "b", "c"], limit=2)
    points = ax.collections[0]
    np.testing.assert_allclose(points.get_offsets(), codes)
    np.testing.assert_array_equal(points.get_array(), labels)
    assert points.get_cmap().name == "rainbow" and points.get_sizes() == [8]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "c"]
    assert ax.get_aspect() == 1 and ax.get_title() == "q(z)" and ax.get_xlim() == (-2, 2)


def test_scatter_prior_without_labels_has_one_colour_and_no_legend():
    ax = plotting.scatter_prior(np.zeros((5, 2)))
    assert ax.get_title() == "p(z)" and ax.get_legend() is None
    assert len(ax.collections[0].get_facecolors()) == 1


def test_given_axes_are_used():
    _, ax = plt.subplots()
    assert plotting.scatter_codes(np.zeros((5, 2)), ax=ax) is ax


def test_scatter_refuses_more_dimensions():
    with pytest.raises(ValueError, match=r"shape \(5, 4\): expected \(N, 2\); see project"):
        plotting.scatter_codes(np.zeros((5, 4)))


@pytest.mark.parametrize("n", [len(HOSTILE), 10])
def test_names_are_shown_as_they_are(n):
    """Beside the picture and, of the first ten, in its corner."""
    ax = figure_of(n, HOSTILE[:n])
    drawn(ax.figure)
    texts = ax.get_legend().get_texts()
    assert len(texts) == n
    # What is drawn is what is left of dollars and backslashes, and is not mathematics.
    shown = [text._preprocess_math(text.get_text()) for text in texts]
    assert [text for text, _ in shown[:10]] == SHOWN and not any(math for _, math in shown)


def test_characters_without_a_font(monkeypatch):
    monkeypatch.setattr(canvas, "_glyphs", lambda file: set("é□"))
    canvas._fonts.cache_clear()
    try:
        families, lacking = canvas.fonts(["猫é\u200d", "犬"])
        assert families == ("sans-serif",) and lacking == set("猫犬\u200d")
        assert canvas.drawable(["猫é\u200d", "犬", "$"]) == ["□é", "□", r"\$"]
    finally:
        canvas._fonts.cache_clear()


@pytest.mark.skipif(canvas.matplotlib.__version_info__ < (3, 6), reason="it draws with one font")
def test_other_fonts_are_taken_for_what_the_first_lacks(monkeypatch):
    fonts = canvas.matplotlib.font_manager.fontManager.ttflist
    normal = ("DejaVu Serif", "normal", 400)
    other = next(f for f in fonts if (f.name, f.style, f.weight) == normal)
    has = {other.fname: set("猫犬")}
    monkeypatch.setattr(canvas, "_glyphs", lambda file: has.get(file, set()))
    canvas._fonts.cache_clear()
    try:
        assert canvas.fonts(["猫犬鳥"]) == (("sans-serif", "DejaVu Serif"), {"鳥"})
    finally:
        canvas._fonts.cache_clear()


@pytest.mark.parametrize("n", [2, 12, 13, 47, pytest.param(300, marks=pytest.mark.slow)])
def test_legend_of_many_classes(n):
    """Within the figure; with many classes not within the axes. The plane keeps its size."""
    ax = figure_of(n)
    drawn(ax.figure)
    legend, axes = ax.get_legend().get_window_extent(), ax.get_window_extent()
    figure, title = ax.figure.bbox, ax.title.get_window_extent()
    assert 0 <= legend.x0 < legend.x1 <= figure.x1 and 0 <= legend.y0 < legend.y1 <= figure.y1
    assert (legend.x0 >= axes.x1) == (n > 12) and title.y1 <= figure.y1
    assert axes.width == pytest.approx(axes.height) and axes.width > 700
    entries = [text.get_text() for text in ax.get_legend().get_texts()]
    assert entries == [str(i) for i in range(min(n, 190))]
    assert (ax.get_legend().get_title().get_text() == "the first 190 of 300") == (n == 300)
    # Every name also stands at its points.
    assert [text.get_text() for text in ax.texts] == [str(i) for i in range(n)] * (n > 12)


@pytest.mark.parametrize("n", [13, 47, 120])
def test_colours_of_neighbours_differ(n):
    colours = plotting.class_colours(n)(np.arange(n))[:, :3]
    assert len(np.unique(colours, axis=0)) == n
    for distance in (1, 2, 3):
        apart = np.linalg.norm(colours[distance:] - colours[:-distance], axis=1)
        assert apart.min() > 0.4


def test_samples_of_many_classes():
    samples = np.zeros((15, 3, 4, 5))
    names = HOSTILE + ["last"]
    ax = Figure(figsize=(8, 8), layout="constrained").subplots()
    plotting.show_samples(samples, names, plotting.samples_columns(15, 3), ax)
    drawn(ax.figure)
    sheet = ax.images[0].get_array()
    # Two classes to a row, each with a white cell for its name; nothing in the last half row.
    assert sheet.shape == (8 * 4, 2 * 4 * 5)
    assert (
        (sheet[:4, :5] == 1).all() and (sheet[:4, 5:20] == 0).all() and (sheet[-4:, 20:] == 1).all()
    )
    assert [text.get_text() for text in ax.texts][-1] == "last" and len(ax.texts) == 15
    np.testing.assert_allclose(
        [text.get_position()[1] for text in ax.texts][::2], np.arange(8) * 4 + 1.5
    )


def test_project_of_codes_that_span_no_plane():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for codes in (np.ones((1, 6)), np.ones((5, 6)), np.eye(6)[:2]):
            projected, fitted = plotting.project(codes)
            assert projected.shape == (len(codes), 2) and np.isfinite(projected).all()
            plane = plotting.plane_codes(fitted)
            np.testing.assert_allclose(
                plotting.project(plane, fitted)[0], plotting.plane_codes(), atol=1e-5
            )


@pytest.mark.parametrize(
    ("prior", "settings", "extent"),
    [
        # The post's plane, at the sizes that the priors have by default and near them.
        ("gaussian", {}, 4),
        ("gaussian", {"code_dim": 64}, 4),
        ("gaussian_mixture", {}, 4),
        ("swiss_roll", {}, 4),
        ("uniform", {}, 4),
        ("uniform", {"extent": 3}, 4),
        ("gaussian", {"std": 5}, 18),
        ("gaussian", {"std": 0.1}, 0.36),
        ("uniform", {"extent": 10}, 12),
        ("swiss_roll", {"radius": 8}, 8.8),
    ],
)
def test_plane_spans_what_the_prior_spans(prior, settings, extent):
    settings = dict(settings)
    dim = settings.pop("code_dim", 2)
    codes, _ = priors.PRIORS[prior](**settings).sample(12_800, np.random.default_rng(0), dim)
    assert plotting.plane_extent(codes) == pytest.approx(extent)


def test_show_plane_of_another_extent():
    ax = plotting.show_plane(np.zeros((441, 2, 2)), extent=10)
    np.testing.assert_allclose(ax.images[0].get_extent(), (-10.5, 10.5, -10.5, 10.5))


def test_project():
    codes = np.random.default_rng(0).standard_normal((200, 2))
    same, fitted = plotting.project(codes)
    assert same is codes and fitted is None
    # A plane in six dimensions is found, and left as it is but for a turn.
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0][:2]
    projected, fitted = plotting.project(codes @ turn)
    distances = np.linalg.norm(codes - codes[0], axis=1)
    np.testing.assert_allclose(np.linalg.norm(projected - projected[0], axis=1), distances)
    again, same_fit = plotting.project(codes @ turn, fitted)
    np.testing.assert_allclose(again, projected)
    assert same_fit is fitted
    plane = plotting.plane_codes(fitted)
    assert plane.shape == (441, 6)
    np.testing.assert_allclose(
        plotting.project(plane, fitted)[0], plotting.plane_codes(), atol=1e-5
    )


def test_plane_codes_are_the_posts():
    codes = plotting.plane_codes()
    assert codes.shape == (441, 2) and codes.dtype == np.float32
    # From the top left, row by row, in steps of 0.4.
    np.testing.assert_allclose(
        codes[[0, 1, 20, 21, 440]], [[-4, 4], [-3.6, 4], [4, 4], [-4, 3.6], [4, -4]], atol=1e-6
    )


def test_show_plane_puts_images_where_their_codes_lie():
    images = np.zeros((441, 2, 2))
    images[0] = 1
    ax = plotting.show_plane(images)
    shown = ax.images[0]
    assert shown.get_array().shape == (42, 42)
    assert shown.get_array()[:2, :2].sum() == 4 and shown.get_array().sum() == 4
    np.testing.assert_allclose(shown.get_extent(), (-4.2, 4.2, -4.2, 4.2))


def test_tile():
    images = np.arange(3)[:, None, None] * np.ones((3, 2, 1)) + 1
    np.testing.assert_array_equal(plotting.tile(images, 2), [[1, 2], [1, 2], [3, 0], [3, 0]])
    assert plotting.tile(np.zeros((5, 4, 3, 3)), 2).shape == (12, 6, 3), "colour"


def test_reconstructions_stand_beside_their_originals():
    originals, reconstructions = np.zeros((4, 1, 1)), np.ones((4, 1, 1))
    ax = plotting.show_reconstructions(originals, reconstructions)
    np.testing.assert_array_equal(ax.images[0].get_array()[0, :8], [0, 1] * 4)


def test_the_rest_of_a_sheet_is_white():
    ax = plotting.show_images(np.zeros((3, 2, 2)))
    assert (ax.images[0].get_array()[2:, 2:] == 1).all()


def history_of(values):
    return {
        name: values
        for name in (
            "reconstruction_l2",
            "held_out_l2",
            "discriminator_entropy",
            "generator_entropy",
            "discriminator_accuracy",
            "generator_accuracy",
        )
    }


def test_loss_curves():
    axes = plotting.loss_curves({"epoch": [1, 2], **history_of([1.0, 0.5])})
    assert [len(ax.lines) for ax in axes] == [2, 2, 2]
    np.testing.assert_array_equal(axes[0].lines[0].get_xydata(), [[1, 1], [2, 0.5]])


@pytest.mark.parametrize("epochs", [1, 2, 3, 30])
def test_epochs_are_whole_numbers(epochs):
    numbers = list(range(1, epochs + 1))
    ax = plotting.loss_curves({"epoch": numbers, **history_of([0.5] * epochs)})[0]
    ticks = [tick for tick in ax.get_xticks() if np.prod(np.subtract(ax.get_xlim(), tick)) <= 0]
    assert ticks and all(tick == round(tick) and tick in [0, *numbers] for tick in ticks)


def test_curves_that_hardly_differ_look_level():
    values = [0.6931, 0.693101, 0.693099]
    ax = plotting.loss_curves({"epoch": [1, 2, 3], **history_of(values)})[1]
    low, high = ax.get_ylim()
    assert low < 0.67 and high > 0.71


def test_shared_limit():
    assert plotting.shared_limit(np.zeros((3, 2))) == 1, "limits that are equal show nothing"
    assert plotting.shared_limit(np.full((10, 2), -3.0), np.ones((5, 2))) == pytest.approx(3.3)
