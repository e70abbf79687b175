"""The priors p(z) of the post, drawn with NumPy.

Every prior but the single Gaussian consists of one *piece* per label: a petal of the
mixture, a stretch of the roll, a cell of the square. A sample's label is the piece that
it came from. Codes of more than two dimensions are drawn pair by pair: each consecutive
pair (0, 1), (2, 3), ... follows the two-dimensional geometry below, all pairs of one
sample in the piece of the same label.

All functions take

- ``n``: how many codes to draw;
- ``rng``: a :class:`numpy.random.Generator`, the only source of randomness;
- ``code_dim``: the dimensions of a code, at least 2; an even number, but for ``gaussian`` and for
  ``uniform``, whose last dimension is then the first of one more pair;
- ``n_labels``: into how many pieces the prior falls;
- ``labels``: the piece of each sample, integers in [0, n_labels) of shape (n,); drawn
  uniformly where none are given;

and return ``(codes, labels)``: float32 of shape (n, code_dim) and int64 of shape (n,).
They raise ValueError for arguments outside of these ranges.

Source: the post's formulas. Makhzani et al. use a mixture and a roll alike (section 2.3).
"""

import math

import numpy as np

GAUSSIAN_STD = 1.0
MIXTURE_STD_X = 0.5
MIXTURE_STD_Y = 0.1
MIXTURE_SHIFT = 1.4
ROLL_RADIUS = 3.0
ROLL_TURNS = 2.0
UNIFORM_EXTENT = 2.0


def gaussian(n, rng, code_dim=2, n_labels=10, labels=None, std=GAUSSIAN_STD):
    """Draw from N(0, std²) in every dimension; it has no pieces, so the labels are None.

    Raises ValueError if ``labels`` are given.
    """
    if labels is not None:
        raise ValueError(
            "the single Gaussian has no pieces that labels could name; "
            "use gaussian_mixture, swiss_roll or uniform"
        )
    _pairs(n, code_dim, odd=True)
    return (std * rng.standard_normal((n, code_dim))).astype(np.float32), None


def gaussian_mixture(
    n,
    rng,
    code_dim=2,
    n_labels=10,
    labels=None,
    std_x=MIXTURE_STD_X,
    std_y=MIXTURE_STD_Y,
    shift=MIXTURE_SHIFT,
):
    """Draw from ``n_labels`` petals around the origin.

    x ~ N(shift, std_x²) and y ~ N(0, std_y²), turned about the origin by 2π label / n_labels.
    """
    pairs = _pairs(n, code_dim)
    labels = _labels(n, rng, n_labels, labels)
    x = shift + std_x * rng.standard_normal((n, pairs))
    y = std_y * rng.standard_normal((n, pairs))
    # The sine and cosine of one turn per label, not per sample.
    turn = 2 * np.pi * np.arange(n_labels) / n_labels
    cos, sin = np.cos(turn)[labels, None], np.sin(turn)[labels, None]
    return _interleave(x * cos - y * sin, x * sin + y * cos), labels


def swiss_roll(n, rng, code_dim=2, n_labels=10, labels=None, radius=ROLL_RADIUS, turns=ROLL_TURNS):
    """Draw from a spiral of ``turns`` turns, cut into ``n_labels`` stretches from the centre out.

    With t = (label + u) / n_labels and u uniform in [0, 1), the code lies at distance
    radius √t from the origin, at the angle 2π turns √t.
    """
    pairs = _pairs(n, code_dim)
    labels = _labels(n, rng, n_labels, labels)
    root = np.sqrt((labels[:, None] + rng.random((n, pairs))) / n_labels)
    angle = 2 * np.pi * turns * root
    return _interleave(radius * root * np.cos(angle), radius * root * np.sin(angle)), labels


def uniform(n, rng, code_dim=2, n_labels=10, labels=None, extent=UNIFORM_EXTENT):
    """Draw evenly from cells of the square [−extent, extent]².

    The square has k × k cells, k = ⌈√n_labels⌉; label l fills the cell in row l // k from
    the bottom and column l % k from the left. With ten labels, six of the 4 × 4 cells (the
    top row and the right half of the row below) stay empty.
    """
    pairs = _pairs(n, code_dim, odd=True)
    labels = _labels(n, rng, n_labels, labels)
    k = math.isqrt(n_labels - 1) + 1
    side = 2 * extent / k
    x = side * (labels[:, None] % k + rng.random((n, pairs))) - extent
    y = side * (labels[:, None] // k + rng.random((n, pairs))) - extent
    return _interleave(x, y)[:, :code_dim], labels


PRIORS = {
    "gaussian": gaussian,
    "gaussian_mixture": gaussian_mixture,
    "swiss_roll": swiss_roll,
    "uniform": uniform,
}


# Those that have a meaning in one dimension.
ODD_DIMENSIONS = ("gaussian", "uniform")


def _pairs(n, code_dim, odd=False):
    """How many pairs of dimensions there are; of ``odd`` many, the last is half of one."""
    if n < 0:
        raise ValueError(f"n={n}: the number of samples cannot be negative")
    if code_dim < 2 or (code_dim % 2 and not odd):
        kind = "a" if odd else "an even"
        raise ValueError(f"code_dim={code_dim}: expected {kind} number of at least 2")
    return (code_dim + 1) // 2


def _labels(n, rng, n_labels, labels):
    if n_labels < 1:
        raise ValueError(f"n_labels={n_labels}: expected at least 1")
    if labels is None:
        return rng.integers(n_labels, size=n)
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ValueError(f"labels of shape {labels.shape}: expected ({n},), one per sample")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels of type {labels.dtype}: expected integers")
    if n and not 0 <= labels.min() <= labels.max() < n_labels:
        bad = labels[(labels < 0) | (labels >= n_labels)][0]
        raise ValueError(f"label {bad}: expected 0 to {n_labels - 1}")
    return labels.astype(np.int64)


def _interleave(x, y):
    """Codes (n, 2 pairs) from the first and second coordinates of each pair, (n, pairs)."""
    return np.stack([x, y], axis=2).reshape(len(x), 2 * x.shape[1]).astype(np.float32)
