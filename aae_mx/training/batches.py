"""What the steps of an epoch work on: images in a new order, and what the mode draws for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Optional

import numpy as np

from aae_mx.backend import mx, rows_of, settle_threads
from aae_mx.data import check_whole, labelled_subset, release_pages
from aae_mx.data.scale import AS_PIXELS, Scale
from aae_mx.errors import ConfigError
from aae_mx.hints import Config, Dataset, Generator, Mode
from aae_mx.modes import find

nd = mx.nd

# Random streams of a run, each seeded by (seed, stream, ...); 0 draws the weights.
SUBSET_STREAM, EPOCH_STREAM = 1, 2


class Batch(dict):
    """What a step works on, by name: NDArrays of N rows; None for what there is not.

    ``images`` (N, pixels) in 0–1, ``left``, 1 at the first step and towards 0, and what the mode
    draws.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
    else:
        __getattr__ = dict.get

    def first(self, n: int) -> Batch:
        """The same of the first ``n`` images only."""
        arrays = {name: v for name, v in self.items() if isinstance(v, nd.NDArray)}
        cut = {name: rows_of(array, 0, n) for name, array in arrays.items()}
        return Batch({**self, **cut})


def n_training(config: Config, dataset: Dataset) -> int:
    """How many of the training images a training sees: all but the last ``validation``.

    Raises ConfigError if none are left.
    """
    n = len(dataset.train_labels) - config.validation
    if n < 1:
        raise ConfigError(
            "validation",
            config.validation,
            f"expected less than the {len(dataset.train_labels):,} training {dataset.noun}",
        )
    return n


def training_labels(config: Config, dataset: Dataset) -> Optional[np.ndarray]:
    """The labels that training may see, int64 of shape (N,): n_labels stands for "unknown".

    None without labels. Raises ConfigError if the images have none, or too few.
    """
    kind, n = config.labels_kind, n_training(config, dataset)
    if kind == "none":
        return None
    labels, n_labels = dataset.train_labels[:n], len(dataset.classes)
    if not n_labels:
        where = config.place or "the data"
        how = "put them into one sub-folder per class" if config.images else "give y with them"
        raise ConfigError(
            "labels", config.labels, f"the {dataset.noun} of {where} have none; {how}"
        )
    known = labels >= 0
    if kind == "all":
        if not known.all():
            how = f"expected a number, up to {known.sum()}"
            if find(config.mode).needs_labels:
                how = f"--mode {config.mode} needs them all"
            raise ConfigError(
                "labels",
                "all",
                f"{(~known).sum():,} of the {n:,} training {dataset.noun} have none (-1); {how}",
            )
        return labels
    if config.labels == known.sum() < n:
        # All that there are, however many of each class.
        return np.where(known, labels, n_labels)
    rng = np.random.default_rng([config.seed, SUBSET_STREAM])
    return np.where(labelled_subset(labels, config.labels, dataset.classes, rng), labels, n_labels)


def epoch_batches(
    mode: Mode, images: Any, labels: Optional[np.ndarray], epoch: int, scale: Scale = AS_PIXELS
) -> Iterator[Batch]:
    """The batches of one pass over ``images``, in a new order.

    ``images``: an NDArray (N, pixels), of bytes or of numbers; or a NumPy array (N, ...), which may
    be larger than memory, of which each batch is made by ``scale``.

    ``labels`` as from ``training_labels``; if the mode wants some, every batch ends with images
    drawn from the labelled ones. Order and all that the mode draws come from the seed and the
    number of the epoch alone, before the first step, so that no step waits for them, and a run that
    goes on draws the same.
    """
    config, ctx, n = mode.config, mode.ctx, len(images)
    rng = np.random.default_rng([config.seed, EPOCH_STREAM, epoch])
    order = rng.permutation(n)
    if mode.labelled_per_batch and labels is not None:
        known = np.flatnonzero(labels < len(mode.classes))
        order = with_labelled(order, known, config.batch_size, mode.labelled_per_batch, rng)
        n = len(order)
    left = 1 - (epoch - 1 + np.arange(n) / n) / config.epochs
    drawn = mode.draw(rng, None if labels is None else labels[order], left)
    drawn = {
        name: nd.array(values, ctx=ctx) if isinstance(values, np.ndarray) else values
        for name, values in drawn.items()
    }
    in_memory = isinstance(images, nd.NDArray)
    if in_memory:
        order = nd.array(order, ctx=ctx, dtype=np.int32)
    settle_threads(at_once=True)
    for start in range(0, n, config.batch_size):
        settle_threads()
        stop = min(start + config.batch_size, n)
        if in_memory:
            batch = nd.take(images, rows_of(order, start, stop))
            if images.dtype == np.uint8:
                batch = batch.astype(np.float32) / 255
        else:
            check_whole(images)
            batch = nd.array(scale.apply(images[order[start:stop]]), ctx=ctx)
            release_pages(images)
        cut = {
            name: rows_of(values, start, stop)
            if isinstance(values, nd.NDArray)
            else values[start:stop]
            for name, values in drawn.items()
        }
        yield Batch(images=batch, left=left[start], **cut)


def with_labelled(
    order: np.ndarray, known: np.ndarray, batch_size: int, drawn: int, rng: Generator
) -> np.ndarray:
    """Add ``drawn`` images, at random from ``known``, to the end of every batch of ``order``.

    Few labels would be lost among the many images without one: of 1,000 in 60,000, a batch
    of 200 would hold three. ``order`` itself still comes whole, so an epoch has more batches.
    """
    own = batch_size - drawn
    parts = []
    for start in range(0, len(order), own):
        parts += [order[start : start + own], rng.choice(known, drawn)]
    return np.concatenate(parts)


def images_per_epoch(mode: Mode, n: int) -> int:
    """The number of images in the batches of an epoch of n: more than n if some come again."""
    return n + steps_per_epoch(mode, n) * mode.labelled_per_batch


def steps_per_epoch(mode: Mode, n: int) -> int:
    """The number of batches that an epoch of n images has."""
    return -(-n // (mode.config.batch_size - mode.labelled_per_batch))
