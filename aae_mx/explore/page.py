"""What the page that explores the plane of codes holds.

The page (page.html) holds all that it shows. It decodes with the weights where the decoder is
a plain multi-layer perceptron, and otherwise blends images that were decoded beforehand. Rows of
features are shown as profiles, a bar for each feature.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any, Optional

import numpy as np

from aae_mx.data.scale import STANDARD
from aae_mx.errors import ConfigError
from aae_mx.hints import AAE, Dataset
from aae_mx.report import exhibits, plotting
from aae_mx.text import printable

TEMPLATE = Path(__file__).parent / "page.html"
N_PRIOR = 4000
# Pixel values of all held-out images together, so that the file stays small; those of the
# reconstructions, which only a page with a grid holds, count too. 10,000 of MNIST are 7.84 million.
# Of a feature, which is a float and no byte, a value counts as four.
MAX_VALUES, OF_FLOAT = 8_000_000, 4
# Of a decoder that is embedded: more would be a large file that decodes slowly.
MAX_WEIGHTS = 4_000_000
# By how much a pixel, or a value as scaled, that the page decodes may differ from the model's.
TOLERANCE = 2 / 255
# Steps of the grid along each side, unless told, and the side of its sheet in pixels.
GRID, MAX_SHEET = 41, 4096
# The ends of a bar, in standard deviations from the mean; of the other scales 0 and 1.
BARS = 3
UNLABELLED = "no label"


def page(data: dict[str, Any]) -> str:
    """The HTML of ``page_data``. It allows itself no network and no script but its own."""
    text = TEMPLATE.read_text("utf-8")
    for name, tag in (("@SCRIPT@", "script"), ("@STYLE@", "style")):
        inside = text.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        text = text.replace(name, f"sha256-{digest}")
    # What comes from the run cannot end the element that it stands in.
    embedded = json.dumps(data)
    for character in "<>&":
        embedded = embedded.replace(character, f"\\u{ord(character):04x}")
    return text.replace("@DATA@", embedded)


def page_data(
    model: AAE, dataset: Dataset, grid: Optional[int] = None, seed: int = 0
) -> dict[str, Any]:
    """What the page shows of a trained model: a dictionary for JSON.

    Arrays are base64 of little-endian numbers, images are sheets as PNG in data URLs, rows of
    features arrays of scaled values. ``grid``: the steps of a grid of decoded images, to have one
    in any case. Raises ConfigError if it would be too large.
    """
    differs: Any = None
    decoder = why = None
    if grid is None:
        few = exhibits.held_out(model, dataset, 1000)
        decoder, differs, why = _decoder(model, few.images, few.labels)
    if decoder is None:
        grid = _grid_steps(model, grid)
    nouns, features = model.noun, len(model.image_shape) == 1
    noun = nouns[:-1]
    stored = model.n_pixels * (2 if grid else 1) * (OF_FLOAT if features else 1)
    images, labels, what, numbers = exhibits.held_out(model, dataset, max(1, MAX_VALUES // stored))
    codes, *kinds = model.represent(images, labels)
    limits = None if features else exhibits.lowest_and_highest(model, dataset)

    def stored_as(values, columns=None):
        """Images or rows, as data has them or decoded, as the page stores them."""
        if features:
            return _base64(model.scale.apply(values), "<f4")
        if values.dtype != np.uint8 or limits is not None:
            values = _bytes(exhibits.as_pixels(model, values, limits))
        return _sheet(values, columns)

    points, fitted = plotting.project(codes)
    prior, _ = plotting.project(model.sample_prior(N_PRIOR, seed=seed)[0], fitted)
    limit = plotting.shared_limit(points, prior)

    of = {"held-out": dataset.test_images, "training": dataset.train_images}
    n_there = len(of[what]) if what in of else model.config.validation
    none_held_out = f", as no {nouns} are held out" * (what != "held-out")
    how = [f"{len(images):,} of {n_there:,} {what} {nouns}{none_held_out}."]
    if decoder:
        most = f"pixels differ from the model's by at most {255 * differs:.1f}/255"
        if features or limits:
            most = f"values differ from the model's, as scaled, by at most {differs:.1g}"
        how.append(
            f"The page decodes with the decoder's weights in {'half' * (decoder['bytes'] == 2)}"
            f"{'single' * (decoder['bytes'] == 4)} precision; its {most}."
        )
    else:
        how.append(
            f"The page does not run the decoder{why or ''}: it blends the nearest four of {grid} × "
            f"{grid} {nouns} decoded beforehand, so what it shows between them is an "
            "approximation. Reconstructions are the model's."
        )
    if fitted is not None:
        share = fitted.explained_variance_ratio_.sum()
        # Of one code, or of equal ones, there is no variance.
        of_all = f" ({share:.0%} of the variance)" * bool(np.isfinite(share))
        how.append(
            f"Codes have {model.code_dim} dimensions: the plane is that of their first two "
            f"principal components{of_all}, the rest at their mean; a reconstruction is that of "
            "the whole code."
        )
    if features:
        how.append(
            f"Bars reach from {BARS} standard deviations below the mean to as many above it."
            if model.scale.kind == STANDARD
            else "Bars reach from 0 to 1, the ends of the scale."
        )
    classes = [printable(name) for name in model.classes]
    unlabelled = len(classes) if classes and (labels < 0).any() else None
    data = {
        "title": model.title.replace("_", " "),
        "about": f"Points: q(z), the codes of {what} {nouns}{' by label' * bool(classes)}. "
        f"Grey: the prior p(z), {N_PRIOR:,} samples.",
        "how": " ".join(how),
        "image_shape": list(model.image_shape),
        "noun": noun,
        "what": what,
        "numbers": None if (numbers == np.arange(len(numbers))).all() else numbers.tolist(),
        "labelled": bool(classes),
        "classes": [*classes, *[UNLABELLED] * (unlabelled is not None)] or ["q(z)"],
        "unlabelled": unlabelled,
        "limit": limit,
        "prior": _base64(prior, "<f4"),
        "points": _base64(points, "<f4"),
        "labels": _base64(np.where(labels < 0, unlabelled or 0, labels), "<u2"),
        "codes": None if fitted is None else _base64(codes, "<f4"),
        "plane": None
        if fitted is None
        else {"mean": fitted.mean_.tolist(), "axes": fitted.components_.tolist()},
        # Of modes whose decoder takes a kind beside the code: their names, and those of the images.
        "kind_names": [printable(name) for name in model.mode.kinds] if kinds else [],
        "kinds": _base64(kinds[0], "<f4") if kinds else None,
        "images": stored_as(images),
        "features": _features(model) if features else None,
        "scale": _shown_scale(model, limits),
        "decoder": decoder,
        "grid": None,
    }
    if kinds:
        how.append(f"The kind y of what is decoded can be chosen beside the {noun}.")
        data["how"] = " ".join(how)
    if grid:
        plane = plotting.plane_codes(fitted, limit, grid)
        # One sheet for each kind.
        beside = [(kind,) for kind in range(len(model.mode.kinds))] if kinds else [()]
        data["grid"] = {
            "steps": grid,
            "images": [stored_as(model.decode(plane, *kind), grid) for kind in beside],
            "reconstructions": stored_as(model.decode(codes, *kinds)),
        }
        if not features:
            # These are as they are shown.
            data["scale"] = None
    return data


def _features(model):
    """How the profile of a row is drawn."""
    names = model.feature_names or [f"feature {i}" for i in range(model.n_pixels)]
    standard = model.scale.kind == STANDARD
    return {
        "names": [printable(name) for name in names],
        "bars": [-BARS, BARS] if standard else [0, 1],
        "unit": "standard deviations" if standard else "of the scale",
    }


def _shown_scale(model, limits):
    """What the page makes of scaled values to show them, or None: times a size, and an offset.

    Values of features get the units of the data, pixels are taken to 0–1.
    """
    offset, size = model.scale.offset, model.scale.size
    if offset is None:
        return None
    if limits is not None:
        low, high = limits
        offset, size = (offset - low) / (high - low), size / (high - low)
    return {"offset": _base64(offset, "<f8"), "size": _base64(size, "<f8")}


def _decoder(model, images, labels):
    """The decoder for the page, by how much its pixels differ at most, or why there is none.

    In half precision, or in single where that is not enough, measured on the codes of ``images``.
    """
    dense = _dense_layers(model.decoder)
    if dense is None:
        return None, None, ", which is no plain multi-layer perceptron"
    # Input by input, see the page.
    weights = [layer.weight.data().asnumpy().T for layer in dense]
    biases = [layer.bias.data().asnumpy() for layer in dense]
    if sum(array.size for array in weights) > MAX_WEIGHTS:
        return None, None, ", which has too many weights"
    codes, *kinds = model.represent(images, labels)
    wanted = model.scale.apply(model.decode(codes, *kinds))
    output = "linear" if model.config.scale == STANDARD else "sigmoid"
    # As the decoder takes them.
    inputs = np.concatenate([*kinds, codes], axis=1)
    for dtype in ("<f2", "<f4"):
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = [array.astype(dtype) for array in weights]
            pixels = _forward(rounded, biases, model.config.activation, inputs, output)
        differs = np.abs(pixels - wanted).max()
        if differs <= TOLERANCE:
            layers = [
                {
                    "outputs": array.shape[1],
                    "weights": _base64(array, dtype),
                    "biases": _base64(bias, "<f4"),
                }
                for array, bias in zip(rounded, biases)
            ]
            decoder = {
                "layers": layers,
                "activation": model.config.activation,
                "output": output,
                "bytes": np.dtype(dtype).itemsize,
            }
            return decoder, differs, None
    return None, None, ", which needs more than single precision"


def _dense_layers(decoder):
    """The dense layers that a decoder consists of, or None if it has others."""
    from aae_mx.backend import mx

    layers = list(getattr(decoder, "layers", []))
    plain = layers and all(type(layer) is mx.gluon.nn.Dense for layer in layers)
    return layers if plain and list(decoder._children.values()) == [decoder.layers] else None


# The activations of networks.mlp and of the last layer, as the page computes them.
ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softrelu": lambda x: np.logaddexp(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
}


def _forward(weights, biases, activation, codes, output="sigmoid"):
    """Pixels in 0–1 of codes, or other values as scaled, as the page computes them."""
    values = codes
    for depth, (weight, bias) in enumerate(zip(weights, biases), start=1):
        last = depth == len(weights)
        sums = values @ weight.astype(np.float32) + bias
        values = ACTIVATIONS[output if last else activation](sums)
    return values


def _grid_steps(model, grid):
    """The steps of the grid along each side, as many as were asked for."""
    most = MAX_SHEET // max(model.image_shape[:2])
    why = "as browsers take no larger sheets of images"
    if len(model.image_shape) == 1:
        kinds = max(1, len(model.mode.kinds) if model.mode.decodes_labels else 1)
        most = max(2, math.isqrt(MAX_VALUES // (OF_FLOAT * model.n_pixels * kinds)))
        why = "as the file would be too large"
    if grid is not None and grid > most:
        raise ConfigError("grid", grid, f"expected at most {most}, {why}")
    # As many images for each kind would make a large file.
    return grid or max(2, min(GRID // 2 + 1 if model.mode.decodes_labels else GRID, most))


def _base64(array, dtype):
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def _bytes(images):
    return np.rint(255 * images).astype(np.uint8)


def _sheet(images, columns=None):
    """Images, uint8 (N, height, width) or (N, height, width, 3), as one PNG in a data URL."""
    from PIL import Image

    columns = columns or int(np.ceil(np.sqrt(len(images))))
    file = io.BytesIO()
    Image.fromarray(plotting.tile(images, columns)).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
