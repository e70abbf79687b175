import matplotlib.pyplot as plt
import numpy as np
import pytest

from aae_mx import plotting


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


def test_loss_curves():
    history = {
        name: [1.0, 0.5]
        for name in (
            "reconstruction_l2",
            "held_out_l2",
            "discriminator_entropy",
            "generator_entropy",
            "discriminator_accuracy",
            "generator_accuracy",
        )
    }
    axes = plotting.loss_curves({"epoch": [1, 2], **history})
    assert [len(ax.lines) for ax in axes] == [2, 2, 2]
    np.testing.assert_array_equal(axes[0].lines[0].get_xydata(), [[1, 1], [2, 0.5]])


def test_shared_limit():
    assert plotting.shared_limit(np.full((10, 2), -3.0), np.ones((5, 2))) == pytest.approx(3.3)
