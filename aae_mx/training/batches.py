"""What the steps of an epoch work on: images in a new order, and what the mode draws for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, NamedTuple, Optional, Tuple

import numpy as np

from aae_mx.backend import mx, rows_of, settle_threads
from aae_mx.data import check_whole, labelled_subset, release_pages
from aae_mx.data.scale import AS_PIXELS, Scale
from aae_mx.errors import ConfigError, InputError
from aae_mx.hints import Config, Dataset, Generator, Mode
from aae_mx.modes import find
from aae_mx.pages import make_huge

nd = mx.nd

# Random streams of a run, each seeded by (seed, stream, ...); 0 draws the weights.
SUBSET_STREAM, EPOCH_STREAM = 1, 2
# After so many batches a training has all the memory that it needs.
WARM = 10


class Batch(dict):
    """What a step works on, by name: NDArrays of N rows; None for what there is not.

    ``images`` (N, pixels) in 0–1, ``left``, 1 at the first step and towards 0, and what the mode
    draws. In the last epochs, where the decoder learns alone, ``left`` is 0, and ``decoder_left``
    falls from 1 towards 0. ``drawn``: how many at the end come again as they have a label. Where
    several workers share a batch, these are rows of one of them: ``n_all``, ``n_own`` and
    ``n_known`` say how many all have, how many of them without the drawn ones, and how many with a
    label; ``share`` and ``own_share`` how large a part of the first two is this worker's.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
    else:
        __getattr__ = dict.get

    def own(self) -> Batch:
        """The same without the drawn images."""
        n = len(self.images) - (self.drawn or 0)
        arrays = {name: v for name, v in self.items() if isinstance(v, nd.NDArray)}
        cut = {name: rows_of(array, 0, n) for name, array in arrays.items()}
        return Batch({**self, **cut, "share": self.own_share})


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
    mode: Mode,
    images: Any,
    labels: Optional[np.ndarray],
    epoch: int,
    scale: Scale = AS_PIXELS,
    worker: Tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """The batches of one pass over ``images``, in a new order.

    ``images``: an NDArray (N, pixels), of bytes or of numbers; or a NumPy array (N, ...), which may
    be larger than memory, of which each batch is made by ``scale``.

    ``labels`` as from ``training_labels``; if the mode wants some, every batch ends with images
    drawn from the labelled ones. Order and all that the mode draws come from the seed and the
    number of the epoch alone, before the first step, so that no step waits for them, and a run that
    goes on draws the same. ``worker``: (number, of how many), where several share each batch.
    """
    config, ctx, n, again = mode.config, mode.ctx, len(images), 0
    rng = np.random.default_rng([config.seed, EPOCH_STREAM, epoch])
    order = rng.permutation(n)
    if mode.labelled_per_batch and labels is not None:
        labelled, again = np.flatnonzero(labels < len(mode.classes)), mode.labelled_per_batch
        order = with_labelled(order, labelled, config.batch_size, again, rng)
        n = len(order)
    done, of_all = epoch - 1 + np.arange(n) / n, config.epochs - mode.decoder_epochs
    alone = mode.decoder_epochs > 0 and epoch > of_all
    left = np.zeros(n) if alone else 1 - done / of_all
    decoder_left = 1 - (done - of_all) / mode.decoder_epochs if alone else None
    known = np.zeros(n, bool) if labels is None else labels[order] < len(mode.classes)
    drawn = mode.draw(rng, None if labels is None else labels[order], left)
    std = getattr(config, "decoder_noise", 0)
    if alone and std:
        normal = rng.standard_normal((n, mode.code_dim), np.float32)
        drawn["decoder_noise"] = np.float32(std) * normal
    parts = [
        Part.of(start, min(start + config.batch_size, n), again, worker)
        for start in range(0, n, config.batch_size)
    ]
    if worker[1] > 1:
        mine = np.concatenate([part.rows for part in parts])
        order = order[mine]
        drawn = {k: v[mine] if isinstance(v, np.ndarray) else v for k, v in drawn.items()}
    drawn = {
        name: nd.array(values, ctx=ctx) if isinstance(values, np.ndarray) else values
        for name, values in drawn.items()
    }
    in_memory = isinstance(images, nd.NDArray)
    if in_memory:
        order = nd.array(order, ctx=ctx, dtype=np.int32)
    settle_threads(at_once=True)
    start = 0
    for number, part in enumerate(parts):
        settle_threads()
        if number == WARM:
            make_huge()
        stop = start + len(part.rows)
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
            else part.of_slices(values)
            for name, values in drawn.items()
        }
        n_known = int(known[part.start : part.stop].sum())
        more = {} if decoder_left is None else {"decoder_left": decoder_left[part.start]}
        cut.update(part.numbers(again), **more)
        yield Batch(images=batch, left=left[part.start], n_known=n_known, **cut)
        start = stop


class Part(NamedTuple):
    """The rows of a batch, ``start`` to ``stop`` of an epoch, that a worker has.

    ``drawn``: how many of them are at the end as they have a label.
    """

    start: int
    stop: int
    rows: np.ndarray
    drawn: int

    @classmethod
    def of(cls, start: int, stop: int, again: int, worker: Tuple[int, int]) -> Part:
        """Every n-th row, from that of the worker's number on; of the last ``again`` rows, too."""
        rank, n = worker
        middle = stop - again
        own, drawn = (np.arange(*ends)[rank::n] for ends in ((start, middle), (middle, stop)))
        return cls(start, stop, np.concatenate([own, drawn]), len(drawn))

    def of_slices(self, values: Any) -> Any:
        """These rows of what gives an NDArray for a slice of an epoch's."""
        batch = values[self.start : self.stop]
        if len(self.rows) == self.stop - self.start:
            return batch
        rows = nd.array(self.rows - self.start, ctx=batch.context, dtype=np.int32)
        return nd.take(batch, rows)

    def numbers(self, again: int) -> dict[str, Any]:
        """What a Batch has of them."""
        n_all = self.stop - self.start
        n_own = n_all - again
        return {
            "drawn": self.drawn,
            "n_all": n_all,
            "n_own": n_own,
            "share": len(self.rows) / n_all,
            "own_share": (len(self.rows) - self.drawn) / n_own,
        }


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


def check_workers(mode: Mode, n: int) -> None:
    """Raise InputError unless each worker has an image of every batch of an epoch of n images."""
    own = mode.config.batch_size - mode.labelled_per_batch
    smallest = n % own or min(own, n)
    if mode.exchange.n > smallest:
        raise InputError(
            f"{mode.exchange.n} workers for batches of which the smallest has {smallest} images: "
            "each needs one; take fewer workers, or another --batch-size"
        )
