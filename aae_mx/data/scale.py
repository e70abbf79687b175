"""Between the values of data and those that the networks see."""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np

from aae_mx.data.dataset import parts, release_pages, to_unit
from aae_mx.errors import InputError
from aae_mx.hints import Shapes

# The kinds of it, see the setting ``scale``; and those that are measured on the training rows.
PIXELS, UNIT, STANDARD = "pixels", "unit", "standard"
MEASURED = (UNIT, STANDARD)
# Rows at once, where there are more than fit into memory.
ROWS = 10_000


class Scale(NamedTuple):
    """How a row of data becomes numbers near 1, and back.

    ``pixels``: bytes over 255, or floats that are in 0–1 already. ``unit`` and ``standard``: (x -
    offset) / size, with an offset and a size for each feature, float64 (features,), so that the
    training rows lie in 0–1, or have mean 0 and standard deviation 1.
    """

    kind: str = PIXELS
    offset: Optional[np.ndarray] = None
    size: Optional[np.ndarray] = None

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Rows (N, ...) of data as the networks see them, float32 (N, features)."""
        if self.offset is None:
            if rows.dtype == np.uint8:
                return to_unit(rows)
            return rows.reshape(len(rows), -1).astype(np.float32)
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        return ((flat - self.offset) / self.size).astype(np.float32)

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Of what the networks gave, float32 (N, features), the values of data.

        float64 where they were measured, as an offset may be a million times the size.
        """
        return (
            values
            if self.offset is None or self.size is None
            else values.astype(np.float64) * self.size + self.offset
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be stored, {name: float64 (features,)}."""
        return (
            {}
            if self.offset is None or self.size is None
            else {OFFSET: self.offset, SIZE: self.size}
        )


AS_PIXELS = Scale()
OFFSET, SIZE = "scale/offset", "scale/size"


def shapes(kind: str, n_features: int) -> Shapes:
    """What ``Scale.arrays`` has, {name: (dtype, shape)}."""
    return {name: ("<f8", (n_features,)) for name in (OFFSET, SIZE)} if kind in MEASURED else {}


def untouched(kind: str, n_features: int) -> Scale:
    """The Scale of a kind that leaves values as they are."""
    if kind not in MEASURED:
        return Scale(kind)
    return Scale(kind, np.zeros(n_features), np.ones(n_features))


def of_arrays(kind: str, arrays: dict[str, np.ndarray]) -> Scale:
    """The Scale of what ``Scale.arrays`` gave. Raises InputError for what cannot be one."""
    if kind not in MEASURED:
        return Scale(kind)
    offset, size = arrays[OFFSET], arrays[SIZE]
    if not (np.isfinite(offset).all() and np.isfinite(size).all() and (size > 0).all()):
        raise InputError("its scale is not finite, or not above 0")
    return Scale(kind, offset, size)


def measure(kind: str, rows: np.ndarray) -> Scale:
    """The Scale of a kind for rows (N, ...), measured on them.

    A feature that is the same in all rows has the size 1. Raises InputError for values that are
    not finite, and for pixels that are neither bytes nor in 0–1.
    """
    if kind not in MEASURED:
        if rows.dtype != np.uint8:
            low, high = _extremes(rows)
            if not (low.min() >= 0 and high.max() <= 1):
                raise InputError(
                    f"values from {low.min():g} to {high.max():g}: expected bytes, or numbers in "
                    f"0-1, for the scale {PIXELS}; take {UNIT} or {STANDARD}"
                )
        return Scale(kind)
    # What is too large for float64 is refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        if kind == UNIT:
            offset, high = _extremes(rows)
            size = high - offset
        else:
            offset = sum(part.sum(axis=0) for part in _flat(rows)) / len(rows)
            squares = sum(np.square(part - offset).sum(axis=0) for part in _flat(rows))
            size = np.sqrt(squares / len(rows))
    if not (np.isfinite(offset).all() and np.isfinite(size).all()):
        raise InputError("the data hold values that are not finite, or too large to be scaled")
    # Rounding alone may make a constant feature differ from its mean.
    constant = size <= 1e-12 * np.maximum(np.abs(offset), 1e-300)
    return Scale(kind, offset, np.where(constant, 1.0, size))


def _extremes(rows):
    lows, highs = zip(*((part.min(axis=0), part.max(axis=0)) for part in _flat(rows)))
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _flat(rows):
    """The rows in parts, float64 (n, features)."""
    for part in parts(rows, ROWS):
        yield part.reshape(len(part), -1).astype(np.float64)
        release_pages(rows)
