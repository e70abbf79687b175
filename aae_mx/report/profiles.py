"""Figures of rows of features, in the place of pictures: what ``figures.FIGURES`` has for images.

Values are as the networks see them, see data/scale.py, so that features can be compared.
"""

from __future__ import annotations

import math
from typing import Any, Optional, Sequence

import numpy as np

from aae_mx.hints import Axes, Drawing, Scene
from aae_mx.report import plotting
from aae_mx.text import shortened

# Rows that are shown, kinds at most, features whose names are written, and features on the decoded
# plane.
ROWS, MOST_KINDS, NAMED, ON_PLANE = 40, 100, 60, 16
# Characters of a feature's name.
NAME = 24
# What is white at the middle shows what is more or less than usual.
AROUND, FROM_ZERO = "RdBu_r", "viridis"


def colours(kind: str) -> dict[str, Any]:
    """The colour map and its limits for values of a kind of Scale."""
    if kind == "standard":
        return {"cmap": AROUND, "vmin": -2.5, "vmax": 2.5}
    return {"cmap": FROM_ZERO, "vmin": 0, "vmax": 1}


def show_profiles(
    rows: np.ndarray,
    names: Optional[Sequence[str]] = None,
    title: Optional[str] = None,
    kind: str = "standard",
    labels: Optional[Sequence[str]] = None,
    ax: Optional[Axes] = None,
    colour_bar: bool = True,
) -> Axes:
    """Rows (N, features) as lines of colours, with the names of features below.

    ``kind``: of their Scale, which decides the colours; ``labels``: N texts at the left.
    ``colour_bar``: whether a bar on the right explains the colours.
    """
    from aae_mx.report import canvas

    rows = np.asarray(rows)
    ax = plotting._axes(ax, plotting.FIGURE_INCHES, plotting.FIGURE_INCHES / 2)
    image = ax.imshow(rows, aspect="auto", interpolation="nearest", **colours(kind))
    if colour_bar:
        _colour_bar(image, ax)
    n = rows.shape[1]
    if n <= NAMED:
        shown = [shortened(name, NAME) for name in names or map(str, range(n))]
        how = {"fontfamily": canvas.fonts(shown)[0], "usetex": False, "fontsize": "x-small"}
        ax.set_xticks(range(n), canvas.drawable(shown), rotation=90 if names else 0, **how)
    else:
        ax.set_xlabel("feature")
    if labels is not None:
        shown = [shortened(label, NAME) for label in labels]
        how = {"fontfamily": canvas.fonts(shown)[0], "usetex": False, "fontsize": "x-small"}
        ax.set_yticks(range(len(shown)), canvas.drawable(shown), **how)
    if title:
        ax.set_title(title)
    return ax


def show_feature_planes(
    planes: np.ndarray,
    names: Sequence[str],
    extent: float,
    axes: np.ndarray,
    kind: str = "standard",
) -> np.ndarray:
    """What the decoder makes of a plane of codes, a picture for each feature.

    ``planes`` (steps, steps, features), the first row at the top; ``axes``: an array of as many.
    """
    from aae_mx.report import canvas

    shown = [shortened(name, NAME) for name in names]
    how = {"fontfamily": canvas.fonts(shown)[0], "usetex": False, "fontsize": "small"}
    edges = (-extent, extent, -extent, extent)
    for i, ax in enumerate(axes.ravel()):
        if i >= len(shown):
            ax.set_axis_off()
            continue
        image = ax.imshow(planes[:, :, i], extent=edges, **colours(kind))
        ax.set_title(canvas.drawable(shown)[i], **how)
        ax.tick_params(labelsize="x-small")
    _colour_bar(image, axes)
    return axes


def _colour_bar(image, axes):
    """Beside axes; its ends are pointed, as values beyond them have their colours."""
    near = image.axes
    how = {"fraction": 0.04, "pad": 0.02, "aspect": 30, "extend": "both", "extendfrac": 0.03}
    near.figure.colorbar(image, ax=axes, label="value, as scaled", **how)


def _scaled(scene, rows):
    return scene.model.scale.apply(rows)


def _kind(scene):
    return scene.model.scale.kind


def _names(scene):
    names = scene.model.feature_names
    return [str(i) for i in range(scene.shape[0])] if names is None else list(names)


def _height(n):
    return max(2.8, 1.8 + 0.14 * n)


def output(scene: Scene) -> Drawing:
    """Features over the decoded plane."""
    n = min(ON_PLANE, scene.shape[0])
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)

    def draw(axes):
        steps = plotting.PLANE_STEPS
        codes = plotting.plane_codes(scene.fitted, scene.extent)
        planes = _scaled(scene, scene.model.decode(codes)).reshape(steps, steps, -1)
        axes = np.atleast_1d(axes)
        show_feature_planes(planes, _names(scene)[:n], scene.extent, axes, _kind(scene))
        title = "features of the decoded plane"
        of_all = f", the first {n} of {scene.shape[0]}" * (n < scene.shape[0])
        axes.ravel()[0].figure.suptitle(title + of_all)

    return draw, {
        "width": 1 + 2.2 * columns,
        "height": 0.6 + 2.1 * rows,
        "rows": rows,
        "columns": columns,
    }


def reconstructions(scene: Scene) -> Drawing:
    """Rows that the training did not see, if there are any, and beside them what became of them."""
    shown, labels, what, numbers = scene.unseen(ROWS)
    if not len(shown):
        return None, f"none of the {what} rows has a label"

    def draw(axes):
        again, names = scene.model.reconstruct(shown, labels), scene.classes
        none_held_out = " (none are held out)" * (what == "training")
        beside = [str(number) for number in numbers]
        if names:
            beside = [names[label] if label >= 0 else "" for label in labels]
        left, right = axes
        how = _names(scene), f"{what} rows{none_held_out}", _kind(scene), beside
        show_profiles(_scaled(scene, shown), *how, left, colour_bar=False)
        show_profiles(_scaled(scene, again), _names(scene), "reconstructed", _kind(scene), ax=right)
        # A row has the same height in both.
        right.set_yticks([])

    return draw, {"width": 12, "height": _height(len(shown)), "columns": 2}


def _cut(kinds, shown=True):
    many = shown and len(kinds) > MOST_KINDS
    return f", the first {MOST_KINDS} of {len(kinds):,}" if many else ""


def samples(scene: Scene) -> Drawing:
    """Decoded prior samples, by kind where these mean something."""
    model, labels = scene.model, None
    if model.mode.labelled:
        n_kinds = min(MOST_KINDS, len(scene.kinds))
        labels = np.sort(np.arange(max(ROWS, n_kinds)) % n_kinds)
    n = ROWS if labels is None else len(labels)

    def draw(axes):
        rows = _scaled(scene, model.sample(n, labels, scene.seed))
        beside = None if labels is None else [scene.kinds[label] for label in labels]
        title = "prior samples, decoded" + _cut(scene.kinds, labels is not None)
        show_profiles(rows, _names(scene), title, _kind(scene), beside, axes)

    return draw, {"height": _height(n)}


def clusters(scene: Scene) -> Drawing:
    """The head of each cluster, decoded."""
    model, n = scene.model, min(MOST_KINDS, len(scene.kinds))

    def draw(axes):
        rows = _scaled(scene, model.decode(np.zeros((n, model.code_dim)), np.arange(n)))
        title = "heads of the clusters (z = 0), decoded" + _cut(scene.kinds)
        show_profiles(rows, _names(scene), title, _kind(scene), scene.kinds[:n], axes)

    return draw, {"height": _height(n)}


def nothing(scene: Scene) -> Drawing:
    return None, "it is of pictures, and the data are rows of features"


# What differs from figures.FIGURES.
FIGURES = {
    "output": output,
    "reconstructions": reconstructions,
    "samples": samples,
    "clusters": clusters,
    "interpolations": nothing,
    "walks": nothing,
    "styles": nothing,
}
