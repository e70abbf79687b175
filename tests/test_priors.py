import itertools
import time

import numpy as np
import pytest

from aae_mx.priors import PRIORS

WITH_PIECES = ["gaussian_mixture", "swiss_roll", "uniform"]
N = 100_000


def rng():
    return np.random.default_rng(3)


def draw(name, n, code_dim=2, n_labels=10, labels=None, **fields):
    return PRIORS[name](**fields).sample(n, rng(), code_dim, n_labels, labels)


@pytest.mark.parametrize(
    ("name", "code_dim"), [*itertools.product(PRIORS, (2, 6)), ("gaussian", 3), ("uniform", 3)]
)
def test_shapes_types_and_determinism(name, code_dim):
    codes, labels = PRIORS[name]().sample(50, rng(), code_dim=code_dim)
    assert codes.shape == (50, code_dim) and codes.dtype == np.float32
    assert np.isfinite(codes).all()
    again, labels_again = PRIORS[name]().sample(50, rng(), code_dim=code_dim)
    np.testing.assert_array_equal(codes, again)
    if name == "gaussian":
        assert labels is None
    else:
        assert labels.shape == (50,) and labels.dtype == np.int64
        np.testing.assert_array_equal(labels, labels_again)
    assert len(PRIORS[name]().sample(0, rng(), code_dim=code_dim)[0]) == 0


@pytest.mark.parametrize("name", WITH_PIECES)
def test_labels_are_kept_or_drawn_evenly(name):
    wanted = np.arange(30) % 7
    _, labels = PRIORS[name]().sample(30, rng(), n_labels=7, labels=wanted)
    np.testing.assert_array_equal(labels, wanted)
    _, labels = PRIORS[name]().sample(N, rng(), n_labels=7)
    # 6 standard deviations of a binomial count.
    expected, slack = N / 7, 6 * np.sqrt(N * 6 / 49)
    assert np.abs(np.bincount(labels, minlength=7) - expected).max() < slack


def test_gaussian_moments():
    codes, _ = draw("gaussian", N, code_dim=4, std=1.5)
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(codes.T), 1.5**2 * np.eye(4), atol=0.05)


def test_mixture_geometry():
    codes, labels = draw("gaussian_mixture", N, code_dim=4, n_labels=10)
    for pair in (codes[:, :2], codes[:, 2:]):
        for label in range(10):
            turn = -2 * np.pi * label / 10
            back = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            x, y = back @ pair[labels == label].T
            assert x.mean() == pytest.approx(1.4, abs=0.03)
            assert x.std() == pytest.approx(0.5, abs=0.02)
            assert y.mean() == pytest.approx(0, abs=0.01)
            assert y.std() == pytest.approx(0.1, abs=0.005)


def test_mixture_parameters():
    codes, labels = draw(
        "gaussian_mixture", N, n_labels=4, labels=np.ones(N, int), std_x=0.2, std_y=0.3, shift=5
    )
    # Label 1 of 4 is turned by a quarter: its axis is y.
    np.testing.assert_allclose(codes.mean(axis=0), [0, 5], atol=0.01)
    np.testing.assert_allclose(codes.std(axis=0), [0.3, 0.2], atol=0.01)


def test_swiss_roll_geometry():
    codes, labels = draw("swiss_roll", N, n_labels=10)
    radius = np.linalg.norm(codes.astype(float), axis=1)
    t = (radius / 3) ** 2
    # Every point lies on the curve: its angle is 4π√t.
    np.testing.assert_allclose(codes[:, 0], radius * np.cos(4 * np.pi * np.sqrt(t)), atol=1e-4)
    np.testing.assert_allclose(codes[:, 1], radius * np.sin(4 * np.pi * np.sqrt(t)), atol=1e-4)
    # The label is the stretch, and within it t is uniform.
    within = 10 * t - labels
    assert -1e-4 < within.min() and within.max() < 1 + 1e-4
    assert within.mean() == pytest.approx(0.5, abs=0.01)
    assert within.var() == pytest.approx(1 / 12, abs=0.002)


def test_swiss_roll_parameters():
    codes, _ = draw("swiss_roll", N, n_labels=1, radius=1, turns=0.25)
    # A quarter of a turn stays in the first quadrant.
    assert codes.min() > -1e-6
    assert np.linalg.norm(codes, axis=1).max() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("n_labels", "k"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4), (17, 5)]
)
def test_uniform_geometry(n_labels, k):
    codes, labels = draw("uniform", N, n_labels=n_labels)
    side = 4 / k
    corner = np.stack([labels % k, labels // k], axis=1) * side - 2
    within = (codes - corner) / side
    assert -1e-5 < within.min() and within.max() < 1 + 1e-5
    np.testing.assert_allclose(within.mean(axis=0), 0.5, atol=0.01)
    np.testing.assert_allclose(within.var(axis=0), 1 / 12, atol=0.002)


def test_uniform_with_ten_labels_leaves_six_cells_empty():
    codes, _ = draw("uniform", N)
    assert codes[:, 1].max() <= 1, "the top row"
    assert codes[codes[:, 1] > 0, 0].max() <= 0, "the right half of the row below"


def test_gaussian_refuses_labels():
    with pytest.raises(ValueError, match="no pieces.*gaussian_mixture"):
        draw("gaussian", 3, labels=[0, 1, 2])


@pytest.mark.parametrize("name", WITH_PIECES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"code_dim": 0}, "code_dim=0"),
        ({"n_labels": 0}, "n_labels=0"),
        ({"labels": [0, 1]}, r"labels of shape \(2,\): expected \(5,\)"),
        ({"labels": [0, 1, 2, 3, 10]}, "label 10: expected 0 to 9"),
        ({"labels": [0, 1, 2, 3, -1]}, "label -1"),
        ({"labels": [0.0] * 5}, "type float64: expected integers"),
    ],
)
def test_bad_arguments(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        PRIORS[name]().sample(5, rng(), **arguments)


@pytest.mark.parametrize("name", ["gaussian_mixture", "swiss_roll"])
def test_priors_of_pairs_need_them_whole(name):
    with pytest.raises(ValueError, match="code_dim=3: expected an even number"):
        PRIORS[name]().sample(5, rng(), code_dim=3)


def test_the_last_of_an_odd_number_of_dimensions_begins_a_pair():
    codes, labels = draw("uniform", N, code_dim=3)
    np.testing.assert_array_equal(np.floor(codes[:, 2] + 2), labels % 4)
    pairs, _ = draw("uniform", N, code_dim=4)
    np.testing.assert_array_equal(codes, pairs[:, :3])


def test_negative_number():
    with pytest.raises(ValueError, match="n=-1"):
        draw("gaussian", -1)


@pytest.mark.parametrize("name", PRIORS)
def test_no_loop_over_samples(name):
    # A loop over a million rows takes seconds; this is no measurement of speed.
    start = time.process_time()
    PRIORS[name]().sample(1_000_000, rng())
    assert time.process_time() - start < 2


@pytest.mark.parametrize("kind", [kind for kind in PRIORS.values() if kind.has_axes])
@pytest.mark.parametrize("code_dim", [2, 4])
def test_a_walk_stays_in_its_piece(kind, code_dim):
    """Each of its codes is near to samples of that piece, and they are in order along it."""
    prior, rng = kind(), np.random.default_rng(0)
    points, pieces = prior.sample(20_000, rng, code_dim)
    for label in (0, 7):
        walk = prior.walk(15, code_dim, label, 10)
        assert walk.shape == (15, code_dim) and walk.dtype == np.float32
        # In the first pair of dimensions, as every pair has a place of its own in the piece.
        distances = np.linalg.norm(walk[:, None, :2] - points[None, :, :2], axis=2)
        assert (pieces[distances.argsort(axis=1)[:, :5]] == label).mean() > 0.9
        steps = np.linalg.norm(np.diff(walk, axis=0), axis=1)
        assert steps.max() < 4 * steps.min()
