"""What is drawn for an epoch against learning by heart: noise on units and codes, and warps."""

from __future__ import annotations

import numpy as np

from aae_mx.backend import mx

nd = mx.nd

# Values in the bank of noise, at least.
NOISE_BANK = 3_000_000


def code_scale(config, left):
    """Standard deviation of the noise on codes at each image of an epoch, float32 (N, 1)."""
    power = 2 if config.code_noise_decay == "quadratic" else 1
    return np.float32(config.code_noise) * left.astype(np.float32)[:, None] ** power


def affine_maps(config, rng, left):
    """For each image of an epoch an affine map, (N, 6); see ``warped``."""
    # To the end linearly, q(z) would match better, but the labels be learnt by heart.
    none = np.array([1, 0, 0, 0, 1, 0], np.float32)
    scale = config.image_warp * np.sqrt(left)[:, None]
    return none + scale * rng.uniform(-1, 1, (len(left), 6))


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


def bank(config, rng, units, ctx, std=None):
    """Noise on the device, of which the batches of an epoch take stretches, see ``stretches``.

    Drawing every number anew would take a fifteenth of the time of a step. ``std``: that of the
    hidden noise by default.
    """
    std = config.hidden_noise if std is None else std
    size = NOISE_BANK + config.batch_size * units
    return units, nd.array(std * rng.standard_normal(size, np.float32), ctx=ctx)


def stretches(bank, names, rng, left, config, falling=True):
    """{name: Stretches} of a bank for each batch of an epoch; ``falling`` to zero linearly."""
    steps = -(-len(left) // config.batch_size)
    offsets = rng.integers(NOISE_BANK, size=(steps, len(names)), endpoint=True)
    scale = left if falling else np.ones_like(left)
    return {
        name: Stretches(*bank, offsets[:, column], scale, config.batch_size)
        for column, name in enumerate(names)
    }


class Stretches:
    """Noise (N, units) for the images of an epoch; a slice of rows gives that of a batch."""

    def __init__(self, units, bank, offsets, scale, batch_size):
        self.units, self.bank, self.offsets = units, bank, offsets
        self.scale, self.batch_size = scale, batch_size

    def __getitem__(self, rows):
        n, offset = rows.stop - rows.start, int(self.offsets[rows.start // self.batch_size])
        noise = self.bank[offset : offset + n * self.units].reshape((n, self.units))
        return self.scale[rows.start] * noise
