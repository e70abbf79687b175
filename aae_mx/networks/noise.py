"""What is drawn for an epoch against learning by heart: noise on units and codes, and warps."""

from __future__ import annotations

import functools
from typing import Any, Sequence

import numpy as np

from aae_mx.backend import mx, rows_of
from aae_mx.hints import Config, Generator, MaybeArray, Mode, NDArray, Shape

nd = mx.nd

# Values in the bank of noise, at least.
NOISE_BANK = 3_000_000
# Half waves across an image in each direction of which a bend is made, at most.
WAVES = 3


def code_scale(config: Config, left: np.ndarray) -> np.ndarray:
    """Standard deviation of the noise on codes at each image of an epoch, float32 (N, 1)."""
    power = 2 if config.code_noise_decay == "quadratic" else 1
    return np.float32(config.code_noise) * left.astype(np.float32)[:, None] ** power


def maps(config: Config, rng: Generator, left: np.ndarray) -> np.ndarray:
    """For each image of an epoch a map, (N, 6), or (N, 36) with a bend; see ``warped``."""
    # To the end linearly, q(z) would match better, but the labels be learnt by heart.
    none = np.array([1, 0, 0, 0, 1, 0], np.float32)
    share = left if config.noise_decay == "falling" else np.ones_like(left)
    scale = np.sqrt(share)[:, None]
    affine = none + config.image_warp * scale * rng.uniform(-1, 1, (len(left), 6))
    if not config.image_bend:
        return affine
    _, weights = _waves()
    normal = rng.standard_normal((len(left), 2, len(weights)), np.float32)
    bends = (config.image_bend * scale[:, None] * normal * weights).reshape(len(left), -1)
    return np.concatenate([affine, bends], axis=1)


@functools.lru_cache(maxsize=None)
def _waves():
    """The pairs of numbers of half waves of a bend, and the weight of each."""
    pairs = [(a, b) for a in range(WAVES + 1) for b in range(WAVES + 1) if a or b]
    return pairs, np.array([1 / np.hypot(*pair) for pair in pairs], np.float32)


@functools.lru_cache(maxsize=None)
def _wave_planes(shape, ctx):
    """The waves of ``_waves`` over an image of ``shape``, an NDArray (waves, pixels)."""
    y, x = ((np.arange(size) + 0.5) / size for size in shape)
    planes = [np.outer(np.cos(np.pi * b * y), np.cos(np.pi * a * x)) for a, b in _waves()[0]]
    return nd.array(np.stack(planes).reshape(len(planes), -1), ctx=ctx)


def noisy(values: NDArray, noise: MaybeArray) -> NDArray:
    """``values`` with noise added, or as they are if there is none; arrays, or symbols."""
    if noise is None:
        return values
    # Not +: in a graph with memory of its own MXNet then takes a wrong gradient, where one of the
    # two has none.
    return (mx.sym if isinstance(values, mx.sym.Symbol) else nd).broadcast_add(values, noise)


def warped(images: NDArray, shape: Shape, maps: MaybeArray) -> NDArray:
    """Images (N, pixels) of ``shape``, each turned, stretched and moved by an affine map.

    ``maps`` (N, 6): a row (a, b, c, d, e, f) takes to the place (x, y) what was at
    (a x + b y + c, d x + e y + f), in coordinates of -1 to 1; (1, 0, 0, 0, 1, 0) leaves it there.
    What comes from outside is black. Without maps, None, the images are as they are. Further
    columns bend them: for x and for y the heights of smooth waves that are added to the place.
    Source of bends: Simard et al., Best Practices for Convolutional Neural Networks (2003).
    """
    if maps is None:
        return images
    affine = nd.slice_axis(maps, axis=1, begin=0, end=6)
    grid = nd.GridGenerator(affine, transform_type="affine", target_shape=shape[:2])
    if maps.shape[1] > 6:
        planes = _wave_planes(tuple(shape[:2]), maps.context)
        heights = nd.slice_axis(maps, axis=1, begin=6, end=None).reshape((-1, len(planes)))
        grid = grid + nd.dot(heights, planes).reshape(grid.shape)
    # Colours lie beside each other in a row, but the sampler has them first.
    planes = images.reshape((len(images), *shape[:2], -1)).transpose((0, 3, 1, 2))
    return nd.BilinearSampler(planes, grid).transpose((0, 2, 3, 1)).reshape((len(images), -1))


def against_heart(
    mode: Mode,
    rng: Generator,
    left: np.ndarray,
    n_maps: int,
    phases: Sequence[str],
    input_noise: float = 0.0,
) -> dict[str, Any]:
    """What keeps a training from learning images by heart, for an epoch, by the names of a batch.

    ``maps`` and, of two, ``other_maps`` for ``warped``; and for each of the ``phases``, by what
    their names begin with, hidden_noise and input_noise, of this standard deviation. Noise comes in
    stretches of a bank: drawing every number anew would take a fifteenth of the time of a step.
    """
    config, drawn = mode.config, {}
    steps = -(-len(left) // config.batch_size)

    def bank(units, std):
        size = NOISE_BANK + config.batch_size * units
        return units, nd.array(std * rng.standard_normal(size, np.float32), ctx=mode.ctx)

    def stretches(bank, name, scale):
        offsets = rng.integers(NOISE_BANK, size=(steps, len(phases)), endpoint=True)
        for phase, of_phase in zip(phases, offsets.T):
            drawn[phase + name] = Stretches(*bank, of_phase, scale, config.batch_size)

    hidden = bank(config.hidden[0], config.hidden_noise) if config.hidden_noise else None
    if config.image_warp or config.image_bend:
        for name in ("maps", "other_maps")[:n_maps]:
            drawn[name] = maps(config, rng, left)
    if hidden:
        falling = config.noise_decay == "falling"
        stretches(hidden, "hidden_noise", left if falling else np.ones_like(left))
    if input_noise:
        stretches(bank(mode.n_pixels, input_noise), "input_noise", np.ones_like(left))
    return drawn


class Stretches:
    """Noise (N, units) for the images of an epoch; a slice of rows gives that of a batch."""

    def __init__(
        self, units: int, bank: NDArray, offsets: np.ndarray, scale: np.ndarray, batch_size: int
    ) -> None:
        self.units, self.bank, self.offsets = units, bank, offsets
        self.scale, self.batch_size = scale, batch_size

    def __getitem__(self, rows: slice) -> NDArray:
        n, offset = rows.stop - rows.start, int(self.offsets[rows.start // self.batch_size])
        noise = rows_of(self.bank, offset, offset + n * self.units).reshape((n, self.units))
        return self.scale[rows.start] * noise
