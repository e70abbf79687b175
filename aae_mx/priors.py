"""The priors p(z) of the post, drawn with NumPy, and what it takes to write another.

Every prior but the single Gaussian consists of one *piece* per label: a petal of the
mixture, a stretch of the roll, a cell of the square. A sample's label is the piece that
it came from. Codes of more than two dimensions are drawn pair by pair: each consecutive
pair (0, 1), (2, 3), ... follows the two-dimensional geometry below, all pairs of one
sample in the piece of the same label.

A prior is a dataclass derived from Prior; its fields become settings and options. One of your own
(``--plugin mine.py``, or ``Config(prior=Ring(radius=2.0))``)::

    @dataclasses.dataclass
    class Ring(Prior):
        name = "ring"
        radius: float = setting(3.0, "Radius of the ring.", above=0)

        def draw(self, n, rng, code_dim, labels, n_labels):
            angle = 2 * np.pi * (labels + rng.random(n)) / n_labels
            return self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)

Source: the post's formulas. Makhzani et al. use a mixture and a roll alike (section 2.3).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Optional

import numpy as np

from aae_mx.errors import ConfigError, InputError
from aae_mx.hints import Generator, Labels
from aae_mx.settings import Setting

# {name: class} of the priors that --prior takes; a subclass of Prior with a name joins them.
PRIORS: dict[str, type[Prior]] = {}


def setting(default: Any, help: str, option: Optional[str] = None, **limits: Any) -> Any:
    """A field of a prior. ``option``: its name among all settings; by default NAME_FIELD.

    ``limits``: at_least, above, below, at_most (1e6), choices; see ``settings.Setting``.
    """
    if isinstance(default, (int, float)) and not isinstance(default, bool):
        limits = {"at_most": 1e6, **limits}
    return dataclasses.field(
        default=default, metadata={"help": help, "option": option, "limits": limits}
    )


@dataclasses.dataclass
class Prior:
    """The base of all: ``draw`` is what a prior has to say for itself."""

    name: ClassVar[str] = ""
    # Whether it falls into one piece per label, and whether it is drawn in pairs of dimensions.
    has_pieces: ClassVar[bool] = True
    paired: ClassVar[bool] = False
    # Whether ``walk`` goes along its pieces.
    has_axes: ClassVar[bool] = False

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if not cls.name:
            return
        there = PRIORS.get(cls.name)
        # A cell of a notebook that is run again replaces its own.
        if there and (there.__module__, there.__qualname__) != (cls.__module__, cls.__qualname__):
            raise InputError(f"there is a prior {cls.name!r} already; choose another name")
        needed = ["draw", *(["walk"] if cls.has_axes else [])]
        missing = [name for name in needed if getattr(cls, name) is getattr(Prior, name)]
        if missing:
            raise InputError(f"the prior {cls.name!r} has no method {', '.join(missing)}")
        PRIORS[cls.name] = cls

    def draw(self, n: int, rng: Generator, code_dim: int, labels: Any, n_labels: int) -> np.ndarray:
        """``n`` codes, (n, code_dim), of the pieces ``labels``: integers in [0, n_labels), (n,).

        ``labels`` is None for a prior without pieces. ``rng``, a ``numpy.random.Generator``, is
        the only source of randomness.
        """
        # Only types need a body here: __init_subclass__ refuses a prior without one of its own.
        raise NotImplementedError

    def sample(
        self, n: int, rng: Generator, code_dim: int = 2, n_labels: int = 10, labels: Labels = None
    ) -> tuple[np.ndarray, Labels]:
        """``n`` codes, float32 (n, code_dim), and the pieces that they are from, int64 (n,).

        ``labels``: the piece of each, drawn evenly where none are given; None comes back for a
        prior without pieces. Raises ValueError for arguments that cannot be.
        """
        self.check_dimensions(code_dim)
        if n < 0:
            raise ValueError(f"n={n}: the number of samples cannot be negative")
        if self.has_pieces:
            labels = _labels(n, rng, n_labels, labels)
        elif labels is not None:
            raise ValueError(
                f"the prior {self.name} has no pieces that labels could name; "
                f"use {', '.join(with_pieces())}"
            )
        codes = np.asarray(self.draw(n, rng, code_dim, labels, n_labels), np.float32)
        if codes.shape != (n, code_dim):
            raise ValueError(
                f"the prior {self.name} drew codes of shape {codes.shape}, "
                f"expected ({n}, {code_dim})"
            )
        return codes, labels

    def walk(self, steps: int, code_dim: int, label: int, n_labels: int) -> np.ndarray:
        """``steps`` codes along the main axis of a piece, (steps, code_dim), if it ``has_axes``.

        For pictures of what lies along it (paper, figure 4).
        """
        # As for draw, of priors that have axes; nothing asks others.
        raise NotImplementedError

    @classmethod
    def check_dimensions(cls, code_dim: int) -> None:
        """Raise ValueError for a number of dimensions that it cannot have."""
        if code_dim < 2 or (code_dim % 2 and cls.paired):
            kind = "an even" if cls.paired else "a"
            raise ValueError(f"code_dim={code_dim}: expected {kind} number of at least 2")

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Its fields as settings, {field: Setting}."""
        kinds = {"float": float, "int": int, "bool": bool, "str": str}
        made = {}
        for field in dataclasses.fields(cls):
            kind = field.type if isinstance(field.type, type) else kinds.get(field.type)
            if kind not in kinds.values() or field.default is dataclasses.MISSING:
                raise InputError(
                    f"the prior {cls.name}: its field {field.name!r} must be a float, int, bool or "
                    "str, with a default"
                )
            made[field.name] = Setting(
                field.metadata.get("option") or f"{cls.name}_{field.name}",
                kind,
                field.default,
                field.metadata.get("help") or f"The {field.name} of the prior {cls.name}.",
                group="prior",
                only={"prior": cls.name},
                **field.metadata.get("limits", {}),
            )
        return made


def with_pieces() -> list[str]:
    """The names of the priors that have a piece for each label."""
    return [name for name, kind in PRIORS.items() if kind.has_pieces]


def find(name: str) -> type[Prior]:
    """The class of a prior. Raises ConfigError for a name that no prior has."""
    if name not in PRIORS:
        raise ConfigError(
            "prior", name, f"expected one of {', '.join(PRIORS)}; your own comes with --plugin FILE"
        )
    return PRIORS[name]


@dataclasses.dataclass
class Gaussian(Prior):
    """N(0, std²) in every dimension; it has no pieces."""

    name = "gaussian"
    has_pieces = False
    std: float = setting(1.0, "Standard deviation of the Gaussian.", "prior_std", above=0)

    def draw(
        self,
        n: int,
        rng: Generator,
        code_dim: int,
        labels: Labels = None,
        n_labels: Optional[int] = None,
    ) -> np.ndarray:
        return self.std * rng.standard_normal((n, code_dim))


@dataclasses.dataclass
class GaussianMixture(Prior):
    """``n_labels`` petals around the origin.

    x ~ N(shift, std_x²) and y ~ N(0, std_y²), turned about the origin by 2π label / n_labels.
    """

    name = "gaussian_mixture"
    paired = has_axes = True
    std_x: float = setting(
        0.5, "Standard deviation of a petal along its axis.", "mixture_std_x", above=0
    )
    std_y: float = setting(
        0.1, "Standard deviation of a petal across it.", "mixture_std_y", above=0
    )
    shift: float = setting(
        1.4, "Distance of a petal's middle from the origin.", "mixture_shift", at_least=0
    )

    def draw(
        self, n: int, rng: Generator, code_dim: int, labels: np.ndarray, n_labels: int
    ) -> np.ndarray:
        x = self.shift + self.std_x * rng.standard_normal((n, code_dim // 2))
        y = self.std_y * rng.standard_normal((n, code_dim // 2))
        return self._turned(x, y, labels, n_labels)

    def walk(self, steps: int, code_dim: int, label: int, n_labels: int) -> np.ndarray:
        along = self.shift + self.std_x * np.linspace(-2, 2, steps)
        x = np.repeat(along[:, None], code_dim // 2, axis=1)
        return self._turned(x, 0 * x, np.full(steps, label), n_labels).astype(np.float32)

    @staticmethod
    def _turned(x, y, labels, n_labels):
        # The sine and cosine of one turn per label, not per sample.
        turn = 2 * np.pi * np.arange(n_labels) / n_labels
        cos, sin = np.cos(turn)[labels, None], np.sin(turn)[labels, None]
        return _interleave(x * cos - y * sin, x * sin + y * cos)


@dataclasses.dataclass
class SwissRoll(Prior):
    """A spiral of ``turns`` turns, cut into ``n_labels`` stretches from the centre out.

    With t = (label + u) / n_labels and u uniform in [0, 1), the code lies at distance
    radius √t from the origin, at the angle 2π turns √t.
    """

    name = "swiss_roll"
    paired = has_axes = True
    radius: float = setting(3.0, "Outer radius of the swiss roll.", "roll_radius", above=0)
    turns: float = setting(2.0, "Turns of the swiss roll.", "roll_turns", above=0)

    def draw(
        self, n: int, rng: Generator, code_dim: int, labels: np.ndarray, n_labels: int
    ) -> np.ndarray:
        return self._at((labels[:, None] + rng.random((n, code_dim // 2))) / n_labels)

    def walk(self, steps: int, code_dim: int, label: int, n_labels: int) -> np.ndarray:
        t = (label + (np.arange(steps) + 0.5) / steps) / n_labels
        return self._at(np.repeat(t[:, None], code_dim // 2, axis=1)).astype(np.float32)

    def _at(self, t):
        root = np.sqrt(t)
        angle = 2 * np.pi * self.turns * root
        return _interleave(self.radius * root * np.cos(angle), self.radius * root * np.sin(angle))


@dataclasses.dataclass
class Uniform(Prior):
    """Cells of the square [−extent, extent]², each filled evenly.

    The square has k × k cells, k = ⌈√n_labels⌉; label l fills the cell in row l // k from
    the bottom and column l % k from the left. With ten labels, six of the 4 × 4 cells (the
    top row and the right half of the row below) stay empty. The last of an odd number of
    dimensions is the first of one more pair.
    """

    name = "uniform"
    extent: float = setting(2.0, "Half the side of the uniform square.", "extent", above=0)

    def draw(
        self, n: int, rng: Generator, code_dim: int, labels: np.ndarray, n_labels: int
    ) -> np.ndarray:
        pairs = (code_dim + 1) // 2
        k = math.isqrt(n_labels - 1) + 1
        side = 2 * self.extent / k
        x = side * (labels[:, None] % k + rng.random((n, pairs))) - self.extent
        y = side * (labels[:, None] // k + rng.random((n, pairs))) - self.extent
        return _interleave(x, y)[:, :code_dim]


def categorical(
    n: int, rng: Generator, n_labels: int, labels: Labels = None
) -> tuple[np.ndarray, np.ndarray]:
    """One-hot rows, float32 (n, n_labels), of labels that are drawn evenly or given; and these.

    The prior of the kind y of an image (paper, section 5). It is no prior of --prior.
    """
    labels = _labels(n, rng, n_labels, labels)
    return np.eye(n_labels, dtype=np.float32)[labels], labels


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
    return np.stack([x, y], axis=2).reshape(len(x), 2 * x.shape[1])
