"""The log-density of images under a Parzen window of a model's samples (paper, section 3).

A Gaussian of one width σ stands at each of N samples; an image's density is the mean of theirs. The
procedure is that of Goodfellow et al., Generative Adversarial Nets (2014), with finer steps of σ:
it is the best value for images that are not the measured ones, and the error is the standard error
over images.
The estimate is poor in many dimensions and rewards blur; it is here as the paper has it.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Optional, Union

import numpy as np

from aae_mx.errors import InputError
from aae_mx.hints import AAE, Dataset
from aae_mx.report.evaluate import measured_on

# The widths that are tried: Goodfellow's ten, which alone can cost 10 nats, with four between each
# two, which alone can cost half a nat. Chosen for as many samples as are measured with, as more ask
# for a narrower window.
SIGMAS = np.logspace(-1, 0, 46)
N_VALIDATION, MOST_SAMPLES = 1000, 1_000_000
# Samples that are made at once, and images against which they are set at once.
SAMPLES_AT_ONCE, IMAGES_AT_ONCE = 10_000, 2500
STREAM = 7  # of random numbers, beside those of evaluate


def likelihood(
    model: AAE,
    dataset: Dataset,
    n_samples: int = 10_000,
    n: Optional[int] = None,
    seed: int = 0,
    progress: Optional[Callable[[int], None]] = None,
    split: str = "test",
) -> dict[str, Any]:
    """The mean log-density, in nats, of the first ``n`` held-out images under a model's samples.

    Values are as the networks see them.
    With the ``split`` "validation" of those that were kept out of its training. σ is chosen on the
    last N_VALIDATION training images, which are then not measured. Returns {"samples", "sigma",
    "log_density", "standard_error", "ceiling"}; the ceiling is the same with training images
    instead of samples, as many as there are. ``progress(done)`` is called with the number of
    samples that are behind it. Memory does not grow with ``n_samples``. Raises InputError for less
    than two images, and for a split that there is not.
    """
    what, images, _ = measured_on(model, dataset, split)
    if split == "validation":
        images = images[:-N_VALIDATION]
    scaled = model.scale.apply
    images, training = scaled(images[:n]), dataset.train_images
    if len(images) < 2:
        raise InputError(
            f"{len(images)} {what} {model.noun} to measure: at least two are needed"
            + f" besides the {N_VALIDATION} that choose the window" * (split == "validation")
        )
    if len(training) <= N_VALIDATION:
        raise InputError(
            f"{len(training)} training {model.noun}: more than {N_VALIDATION} are needed, of which "
            "the last choose the width of the window"
        )
    training, validation = training[:-N_VALIDATION], scaled(training[-N_VALIDATION:])

    def sampled(part):
        codes, labels = model.sample_prior(part.stop - part.start, seed=[seed, STREAM, part.start])
        return scaled(model.decode_samples(codes, labels))

    sigma = best_sigma(validation, sampled, n_samples)
    density = log_density(images, sampled, n_samples, sigma, progress)
    # As many training images as samples, but no more than there are.
    n_training = min(n_samples, len(training), 10 * SAMPLES_AT_ONCE)

    def shown(part):
        return scaled(training[part])

    of_training = best_sigma(validation, shown, n_training)
    ceiling = log_density(images, shown, n_training, of_training)
    return {
        "samples": n_samples,
        "sigma": sigma,
        "log_density": float(density.mean()),
        "standard_error": float(density.std() / math.sqrt(len(density))),
        "ceiling": float(ceiling.mean()),
        "ceiling_samples": n_training,
    }


def best_sigma(images: np.ndarray, sampled: Callable[[slice], np.ndarray], n_samples: int) -> float:
    """The width with the largest mean ``log_density``, by the first MOST_SAMPLES samples.

    Between SIGMAS it is where a parabola through the best of them and its two neighbours is
    highest, over log σ.
    """
    density = log_density(images, sampled, min(n_samples, MOST_SAMPLES), SIGMAS).mean(axis=-1)
    best = int(density.argmax())
    if not 0 < best < len(SIGMAS) - 1:
        return float(SIGMAS[best])
    before, middle, after = density[best - 1 : best + 2]
    steps = (before - after) / (before - 2 * middle + after) / 2
    return float(SIGMAS[best] * (SIGMAS[best + 1] / SIGMAS[best]) ** steps)


def log_density(
    images: np.ndarray,
    sampled: Callable[[slice], np.ndarray],
    n_samples: int,
    sigma: Union[float, np.ndarray],
    progress: Optional[Callable[[int], None]] = None,
) -> np.ndarray:
    """log of 1/N Σ N(x; s, σ²) of each of ``images`` (M, pixels), float64 (M,).

    ``sampled(slice)`` gives the samples of a slice of the N, (n, pixels) in 0–1. Of several widths,
    (S,), the result is (S, M).
    """
    n, pixels = len(images), images.shape[1]
    sigmas = np.atleast_1d(sigma)
    scales = 1 / (2 * sigmas**2)
    # The logarithm of the sum so far, kept as the least distance and a sum relative to it.
    nearest, total = np.full(n, np.inf), np.zeros((len(sigmas), n))
    for start in range(0, n_samples, SAMPLES_AT_ONCE):
        samples = sampled(slice(start, min(start + SAMPLES_AT_ONCE, n_samples)))
        squares = (samples**2).sum(axis=1)
        for first in range(0, n, IMAGES_AT_ONCE):
            rows = slice(first, first + IMAGES_AT_ONCE)
            x = images[rows]
            # |x − s|², in float32: rounding is below a thousandth of a nat.
            distances = x @ samples.T
            distances *= -2
            distances += (x**2).sum(axis=1)[:, None]
            distances += squares
            np.maximum(distances, 0, out=distances)
            new = np.minimum(nearest[rows], distances.min(axis=1))
            distances -= new.astype(np.float32)[:, None]
            terms = np.empty_like(distances)
            for i, scale in enumerate(scales):
                np.exp(np.multiply(distances, np.float32(-scale), out=terms), out=terms)
                total[i, rows] *= np.exp(scale * (new - nearest[rows]))
                total[i, rows] += terms.sum(axis=1, dtype=np.float64)
            nearest[rows] = new
        if progress:
            progress(min(start + SAMPLES_AT_ONCE, n_samples))
    normalisers = pixels * np.log(sigmas * math.sqrt(2 * math.pi)) + math.log(n_samples)
    densities = np.log(total) - scales[:, None] * nearest - normalisers[:, None]
    return densities.reshape((*np.shape(sigma), n))
