"""What the steps of an epoch work on: images in a new order, prior samples, labels and noise."""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np

from aae_mx import priors
from aae_mx.backend import mx, settle_threads
from aae_mx.data import labelled_subset, release_pages, to_unit
from aae_mx.errors import ConfigError

nd = mx.nd

# Values in the bank of noise, at least.
NOISE_BANK = 3_000_000
# Random streams of a run, each seeded by (seed, stream, ...); 0 draws the weights.
SUBSET_STREAM, EPOCH_STREAM = 1, 2


def training_labels(config, dataset):
    """The labels that training may see, int64 of shape (N,): n_labels stands for "unknown".

    None in the unsupervised formulation. Raises ConfigError if the images have none, or too few.
    """
    if config.formulation == "unsupervised":
        return None
    labels, n_labels = dataset.train_labels, len(dataset.classes)
    if not n_labels:
        raise ConfigError(
            "labels",
            config.labels,
            f"the images of {config.images} have none; put them into one sub-folder per class",
        )
    if config.formulation == "supervised":
        return labels
    rng = np.random.default_rng([config.seed, SUBSET_STREAM])
    return np.where(labelled_subset(labels, config.labels, dataset.classes, rng), labels, n_labels)


def draw_prior(config, labels, n, n_labels, rng):
    """Prior codes (n, code_dim) to set against n images, in the pieces of their labels.

    For images without a label (n_labels in ``labels``, or no labels at all) the sample is
    drawn from the whole prior. Returns the pieces too, (n,); None for the Gaussian.
    """
    if labels is not None:
        labels = np.where(labels < n_labels, labels, rng.integers(n_labels, size=n))
    return priors.PRIORS[config.prior](
        n,
        rng,
        code_dim=config.code_dim,
        n_labels=n_labels,
        labels=labels,
        **config.prior_parameters,
    )


class Batch(NamedTuple):
    """What a step works on: NDArrays of N rows, and how large a share of the training is left."""

    images: nd.NDArray  # (N, pixels) in 0–1
    generator_images: nd.NDArray  # the same; where there are pseudo-labels, warped once more
    left: float  # 1 at the first step, towards 0
    prior_codes: nd.NDArray  # (N, discriminator steps, code_dim), with noise
    hidden_noise: Optional[nd.NDArray] = None  # (N, units), see NoisyEncoder
    generator_hidden_noise: Optional[nd.NDArray] = None  # the same, in the generator phase
    code_noise: Optional[nd.NDArray] = None  # as prior_codes, for those of images
    generator_noise: Optional[nd.NDArray] = None  # (N, code_dim), for those of the generator phase
    condition: Optional[nd.NDArray] = None  # (N, n_conditions), one-hot
    pieces: Optional[nd.NDArray] = None  # (N, n_labels), one-hot, of the first prior samples


def epoch_batches(model, images, labels, epoch):
    """The batches of one pass over ``images``, in a new order.

    ``images``: an NDArray (N, pixels) in 0–1; or a NumPy array of uint8, (N, height, width) or
    (N, height, width, 3), which may be larger than memory, and of which each batch is made.

    ``labels`` as from ``training_labels``; semi-supervised, every batch also holds images drawn
    from the labelled ones. Order, prior, noise and maps are drawn from the seed and the number
    of the epoch alone, all before the first step, so that no step waits for them, and a run that
    goes on draws the same.
    """
    config, ctx, n = model.config, model.ctx, len(images)
    rng = np.random.default_rng([config.seed, EPOCH_STREAM, epoch])
    order = rng.permutation(n)
    if config.formulation == "semi_supervised":
        known = np.flatnonzero(labels < len(model.classes))
        order = with_labelled(order, known, config.batch_size, labelled_per_batch(config), rng)
        n = len(order)
    left = 1 - (epoch - 1 + np.arange(n) / n) / config.epochs
    shuffled = None if labels is None else labels[order]

    per_image, pieces = _draw_codes(model, shuffled, left, rng)
    if config.hidden_noise:
        hidden_noise = _noise_bank(model, rng)
    if config.image_warp:
        # To the end linearly, q(z) would match better, but the labels be learnt by heart.
        none = np.array([1, 0, 0, 0, 1, 0], np.float32)
        scale = config.image_warp * np.sqrt(left)[:, None]
        maps = [
            nd.array(none + scale * rng.uniform(-1, 1, (n, 6)), ctx=ctx)
            for _ in range(2 if config.pseudo_labels else 1)
        ]
    if labels is not None:
        per_image.update(_draw_conditions(model, shuffled, pieces))
    per_image = {name: nd.array(values, ctx=ctx) for name, values in per_image.items()}

    in_memory = isinstance(images, nd.NDArray)
    if in_memory:
        order = nd.array(order, ctx=ctx, dtype=np.int32)
    settle_threads(at_once=True)
    for start in range(0, n, config.batch_size):
        settle_threads()
        rows = slice(start, min(start + config.batch_size, n))
        if in_memory:
            batch = nd.take(images, order[rows])
        else:
            batch = nd.array(to_unit(images[order[rows]]), ctx=ctx)
            release_pages(images)
        generator_batch = batch
        if config.image_warp:
            batch = generator_batch = warped(batch, model.image_shape, maps[0][rows])
            if config.pseudo_labels:
                generator_batch = warped(batch, model.image_shape, maps[1][rows])
        drawn = {name: values[rows] for name, values in per_image.items()}
        if config.hidden_noise:
            for name in ("hidden_noise", "generator_hidden_noise"):
                drawn[name] = left[start] * hidden_noise(len(batch))
        yield Batch(batch, generator_batch, left[start], **drawn)


def _draw_codes(model, labels, left, rng):
    """Prior samples and noise on codes of an epoch, by the names of Batch; and pieces."""
    config, n = model.config, len(left)
    drawn = [
        draw_prior(config, labels, n, model.n_pieces, rng)
        for _ in range(config.discriminator_steps)
    ]
    prior_codes = np.stack([codes for codes, _ in drawn], axis=1)
    arrays = {"prior_codes": prior_codes}
    if config.code_noise:
        noise = rng.standard_normal((2, *prior_codes.shape), np.float32)
        last = rng.standard_normal((n, config.code_dim), np.float32)
        power = 2 if config.code_noise_decay == "quadratic" else 1
        scale = np.float32(config.code_noise) * left.astype(np.float32)[:, None] ** power
        prior_codes += scale[:, None] * noise[0]
        arrays["code_noise"] = scale[:, None] * noise[1]
        arrays["generator_noise"] = scale * last
    return arrays, drawn[0][1]


def _noise_bank(model, rng):
    """A function of N that draws noise (N, units) on the first hidden layer.

    Each draw is a stretch of a bank of noise: drawing every number anew would take a fifteenth
    of the time of the step.
    """
    config, units = model.config, model.config.hidden[0]
    size = NOISE_BANK + config.batch_size * units
    bank = config.hidden_noise * rng.standard_normal(size, np.float32)
    bank = nd.array(bank, ctx=model.ctx)

    def draw(n):
        offset = int(rng.integers(NOISE_BANK, endpoint=True))
        return bank[offset : offset + n * units].reshape((n, units))

    return draw


def _draw_conditions(model, labels, pieces):
    """What stands beside the codes of an epoch, one-hot, by the names of Batch."""
    # n entries, or n + 1 of which the last says "unknown".
    one_hot = np.eye(model.discriminator.n_conditions, dtype=np.float32)
    arrays = {"condition": one_hot[labels]}
    if model.classifier is not None:
        arrays["pieces"] = one_hot[pieces, : len(model.classes)]
    return arrays


def warped(images, shape, maps):
    """Images (N, pixels) of ``shape``, each turned, stretched and moved by an affine map.

    ``maps`` (N, 6): a row (a, b, c, d, e, f) takes to the place (x, y) what was at
    (a x + b y + c, d x + e y + f), in coordinates of -1 to 1; (1, 0, 0, 0, 1, 0) leaves it there.
    What comes from outside is black.
    """
    grid = nd.GridGenerator(maps, transform_type="affine", target_shape=shape[:2])
    # Colours lie beside each other in a row, but the sampler has them first.
    planes = images.reshape((len(images), *shape[:2], -1)).transpose((0, 3, 1, 2))
    return nd.BilinearSampler(planes, grid).transpose((0, 2, 3, 1)).reshape((len(images), -1))


def labelled_per_batch(config):
    """How many images of a batch are drawn from the labelled ones: none unless semi-supervised."""
    if config.formulation != "semi_supervised":
        return 0
    return min(round(config.labelled_share * config.batch_size), config.batch_size - 1)


def with_labelled(order, known, batch_size, drawn, rng):
    """Add ``drawn`` images, at random from ``known``, to the end of every batch of ``order``.

    Few labels would be lost among the many images without one: of 1,000 in 60,000, a batch
    of 200 would hold three. ``order`` itself still comes whole, so an epoch has more batches.
    """
    own = batch_size - drawn
    parts = []
    for start in range(0, len(order), own):
        parts += [order[start : start + own], rng.choice(known, drawn)]
    return np.concatenate(parts)


def images_per_epoch(config, n):
    """The number of images in the batches of an epoch of n: more than n if some come again."""
    return n + steps_per_epoch(config, n) * labelled_per_batch(config)


def steps_per_epoch(config, n):
    """The number of batches that an epoch of n images has."""
    return -(-n // (config.batch_size - labelled_per_batch(config)))
