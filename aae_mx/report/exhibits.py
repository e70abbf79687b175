"""Which images or rows of a run are shown, and how values become pixels."""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np

from aae_mx.data.scale import PIXELS
from aae_mx.hints import AAE, Dataset

# Training images whose lowest value is black and whose highest is white, where they are no pixels.
N_RANGE = 1000


class Exhibits(NamedTuple):
    """Images (N, *image_shape) and their labels (N,), -1 where there is none.

    ``what``: "held-out", "validation" or "training"; ``numbers``: (N,), their places among all of
    these.
    """

    images: np.ndarray
    labels: np.ndarray
    what: str
    numbers: np.ndarray


def held_out(model: AAE, dataset: Dataset, n: Optional[int] = None) -> Exhibits:
    """The first ``n`` held-out images, as Exhibits; by default all.

    Where none are held out, those of the validation, or ``n`` from all over the training images,
    which may be sorted. Of modes that have to be told the label only images that have one.
    """
    images, labels = dataset.split("test")
    if len(images):
        return _exhibits(model, images, labels, "held-out", n)
    if model.config.validation:
        return validation(model, dataset, n)
    return _exhibits(model, *dataset.split("train"), "training", n)


def validation(model: AAE, dataset: Dataset, n: Optional[int] = None) -> Exhibits:
    """The same of the images that were kept out of the training; there have to be some."""
    images, labels = dataset.split("train")
    last = slice(-model.config.validation, None)
    return _exhibits(model, images[last], labels[last], "validation", n)


def _exhibits(model, images, labels, what, n):
    numbers = np.arange(len(images))
    if model.mode.needs_labels:
        numbers = numbers[labels >= 0]
    if n is not None and n < len(numbers):
        all_over = np.linspace(0, len(numbers) - 1, n).astype(int)
        numbers = numbers[all_over if what == "training" else slice(n)]
    # All of them may be more than fit into memory.
    which = slice(None) if len(numbers) == len(images) else numbers
    return Exhibits(images[which], labels[which], what, numbers)


def lowest_and_highest(model: AAE, dataset: Dataset) -> Optional[tuple[float, float]]:
    """The values that are shown as black and as white, of images; None where they are pixels."""
    if model.scale.kind == PIXELS:
        return None
    some = dataset.train_images[:N_RANGE]
    low, high = float(some.min()), float(some.max())
    return low, high if high > low else low + 1


def as_pixels(model: AAE, images: np.ndarray, limits: Optional[tuple[float, float]]) -> np.ndarray:
    """Images as data has them, or decoded ones, as floats in 0–1: (N, *image_shape).

    ``limits``: of ``lowest_and_highest``.
    """
    if limits is None:
        return model.scale.apply(images).reshape(-1, *model.image_shape)
    low, high = limits
    images = images.reshape(-1, *model.image_shape).astype(np.float64)
    return np.clip((images - low) / (high - low), 0, 1).astype(np.float32)
