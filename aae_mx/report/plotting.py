"""The post's figures, drawn with matplotlib from plain arrays.

Every function takes arrays and an optional ``ax``, and returns the axes; none of them
touches a model or the disk. Without ``ax``, one is made with pyplot, as a notebook wants.
"""

from __future__ import annotations

import math
from typing import Any, Optional, Sequence

import numpy as np

from aae_mx.errors import ConfigError
from aae_mx.hints import Axes, Shape
from aae_mx.text import shortened

# The post's scatter plots: 8 × 8 inches, points of size 8, the colour map "rainbow".
FIGURE_INCHES = 8
POINT_SIZE = 8
COLOUR_MAP = "rainbow"
# With more classes than this, colours are others, and names stand beside the picture.
MANY_CLASSES = 12
# Then each label's hue lies so far, of all hues, from the one before it: never twice the same.
HUE_STEP = 0.276393
# Okabe's and Ito's palette for all kinds of colour vision (jfly.uni-koeln.de/color), which goes by
# this name. In this order, and with the first two darker, ten colours are as far apart as eight.
SAFE = "safe"
OKABE_ITO = "#0072B2 #D55E00 #56B4E9 #CC79A7 #E69F00 #009E73 #F0E442 #000000".split()
# A colour map of so few colours is one of single colours, without any between them.
SINGLE_COLOURS = 32
# Names of classes: characters of each, inches of a line, and columns at most.
NAME_LENGTH, NAME_INCHES, NAME_COLUMNS = 24, 0.18, 5
# The width of a sheet of images in a figure that is saved.
SHEET_PIXELS = 780
# How one with nearly as many pixels, or more, is scaled.
SMOOTH = "antialiased"
# The post's decoded plane: z in [−4, 4]² in steps of 0.4.
PLANE_EXTENT = 4.0
PLANE_STEPS = 21
# By how many frames an animation's last one stays longer.
LAST_FRAMES = 7


def scatter_codes(
    codes: np.ndarray,
    labels: Optional[np.ndarray] = None,
    classes: Optional[Sequence[str]] = None,
    title: str = "q(z)",
    limit: Optional[float] = None,
    ax: Optional[Axes] = None,
    colours: Optional[str] = None,
    legend: bool = True,
) -> Axes:
    """Codes (N, 2) as points: one colour per label with a legend, or one colour.

    ``labels``: integers of shape (N,), -1 (grey) for none; ``classes``: their names in the legend,
    which makes the figure wider where there are many. Axes are equal; ``limit`` sets them to
    ±limit. ``colours`` as in ``class_colours``.
    """
    ax = _axes(ax, FIGURE_INCHES, FIGURE_INCHES)
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] != 2:
        raise ValueError(f"codes of shape {codes.shape}: expected (N, 2); see project")
    if labels is None:
        how = {} if colours is None else {"color": class_colours(1, colours)(0.0)}
        ax.scatter(codes[:, 0], codes[:, 1], s=POINT_SIZE, linewidths=0, **how)
    else:
        labels = np.asarray(labels)
        n = len(classes) if classes is not None else int(labels.max(initial=0)) + 1
        classes = [str(label) for label in range(n)] if classes is None else classes
        known = labels >= 0
        if not known.all():
            # Below the others.
            ax.scatter(*codes[~known].T, s=POINT_SIZE, c="lightgrey", linewidths=0)
        points = ax.scatter(
            *codes[known].T,
            s=POINT_SIZE,
            c=labels[known],
            cmap=class_colours(n, colours),
            vmin=0,
            vmax=max(n - 1, 1),
            linewidths=0,
        )
        if legend:
            legend = _legend(ax, classes, points.cmap(points.norm(np.arange(n))))
        if n > MANY_CLASSES:
            _name(ax, codes, labels, classes)
    ax.set_title(title)
    ax.set_aspect("equal")
    if limit is not None:
        ax.set_xlim(-limit, limit)
        ax.set_ylim(-limit, limit)
    if labels is not None and legend and n > MANY_CLASSES and len(ax.figure.axes) == 1:
        _widen(ax.figure, legend)
    return ax


def class_colours(n: int, name: Optional[str] = None) -> Any:
    """A matplotlib Colormap of ``n`` classes, which lie evenly on it: class i at i / (n - 1).

    ``name``: one of matplotlib's colour maps, by default the post's, or "safe", which readers
    with any colour vision can tell apart. Of more classes than a map has colours, neighbours look
    unlike: of a continuous one (above MANY_CLASSES) they lie far apart, "safe" goes on with darker
    and lighter ones (50 differ), others begin anew. Raises ConfigError for an unknown name.
    """
    from aae_mx.report.canvas import matplotlib

    if name == SAFE:
        return matplotlib.colors.ListedColormap(_safe_colours(n))
    try:
        colours = matplotlib.colormaps[COLOUR_MAP if name is None else name]
    except (KeyError, TypeError) as error:
        expected = f"expected {SAFE}, or a colour map of matplotlib, as viridis or tab10"
        raise ConfigError("colours", name, expected) from error
    if colours.N <= SINGLE_COLOURS:
        return matplotlib.colors.ListedColormap(colours(np.arange(n) % colours.N))
    if n <= MANY_CLASSES:
        return colours
    hues = colours(HUE_STEP * np.arange(n) % 1)
    hues[1::2, :3] *= 0.6
    return matplotlib.colors.ListedColormap(hues)


def _safe_colours(n):
    """Okabe's and Ito's colours, then these half as bright, then lighter, and so on: (n, 3)."""
    from aae_mx.report.canvas import matplotlib

    palette = np.array([matplotlib.colors.to_rgb(colour) for colour in OKABE_ITO])
    colours = [palette]
    for turn in range(1, -(-n // len(palette))):
        towards = np.full_like(palette, turn % 2 == 0)
        # Black cannot be darker.
        towards[palette.sum(axis=1) == 0] = 0.6 if turn % 2 else 1
        share = 1 - 0.5 ** ((turn + 1) // 2)
        colours.append(palette + share * (towards - palette))
    return np.concatenate(colours)[:n]


def _legend(ax, names, colours):
    """Explain the colours: in a corner or, with many, in columns on the right of the axes."""
    from aae_mx.report import canvas

    many = len(names) > MANY_CLASSES
    lines = int((ax.figure.get_figheight() - 1.1) / NAME_INCHES)
    shown = [shortened(name, NAME_LENGTH) for name in names[: NAME_COLUMNS * lines]]
    handles = [ax.scatter([], [], s=40, color=colour) for colour in colours[: len(shown)]]
    how = {"loc": "upper right"}
    if many:
        how = {"loc": "upper left", "bbox_to_anchor": (1, 1), "borderaxespad": 0, "frameon": False}
        how["ncol"] = -(-len(shown) // lines)
        if len(shown) < len(names):
            how["title"] = f"the first {len(shown)} of {len(names):,}"
    # Names that begin with _ would be left out, so they come afterwards.
    places = [str(i) for i in range(len(shown))]
    legend = ax.legend(handles, places, fontsize="small", framealpha=0.8, **how)
    for text, name in zip(legend.get_texts(), canvas.drawable(shown)):
        text.set(text=name, fontfamily=canvas.fonts(shown)[0], usetex=False)
    return legend


def _widen(figure, legend):
    """Make room for a legend beside the axes of a figure."""
    figure.draw_without_rendering()
    width = legend.get_window_extent().width / figure.dpi
    figure.set_figwidth(figure.get_figwidth() + width)
    # The layout takes some turns until nothing is cut off.
    for _ in range(3):
        figure.draw_without_rendering()


def _name(ax, codes, labels, names):
    """Write the name of every class on the point in the middle of its points."""
    from aae_mx.report import canvas

    shown = [shortened(name, NAME_LENGTH // 2) for name in names]
    how = {"fontsize": "x-small", "fontfamily": canvas.fonts(shown)[0], "usetex": False}
    how.update(horizontalalignment="center", verticalalignment="center")
    outline = canvas.matplotlib.patheffects.withStroke(linewidth=2, foreground="white")
    for label, name in enumerate(canvas.drawable(shown)):
        members = codes[labels == label]
        if len(members):
            distances = np.linalg.norm(members - np.median(members, axis=0), axis=1)
            x, y = members[distances.argmin()]
            ax.text(x, y, name, path_effects=[outline], clip_on=True, **how)


def mark_heads(heads: np.ndarray, names: Sequence[str], ax: Optional[Axes] = None) -> Axes:
    """Mark the middle of each kind, (N, 2), with its name, on axes with codes."""
    from aae_mx.report import canvas

    ax = _axes(ax, FIGURE_INCHES, FIGURE_INCHES)
    ax.scatter(heads[:, 0], heads[:, 1], s=60, marker="X", color="black", edgecolors="white")
    shown = [shortened(name, NAME_LENGTH // 2) for name in names]
    outline = canvas.matplotlib.patheffects.withStroke(linewidth=2, foreground="white")
    how = {"fontsize": "small", "fontfamily": canvas.fonts(shown)[0], "usetex": False}
    how.update(xytext=(5, 5), textcoords="offset points", path_effects=[outline], clip_on=True)
    for name, place in zip(canvas.drawable(shown), heads):
        ax.annotate(name, place, **how)
    return ax


def scatter_prior(
    codes: np.ndarray,
    labels: Optional[np.ndarray] = None,
    classes: Optional[Sequence[str]] = None,
    title: str = "p(z)",
    *arguments: Any,
    **more: Any,
) -> Axes:
    """Samples of the prior, drawn as ``scatter_codes`` draws codes."""
    return scatter_codes(codes, labels, classes, title, *arguments, **more)


def animate_codes(
    snapshots: dict[int, np.ndarray],
    labels: Optional[np.ndarray],
    classes: Optional[Sequence[str]] = None,
    prior: Optional[np.ndarray] = None,
    limit: Optional[float] = None,
    ax: Optional[Axes] = None,
    **looks: Any,
) -> Any:
    """An animation of codes that change: one frame for each of {epoch: codes (N, 2)}.

    Epoch 0 is before training. ``prior``: samples of it, (N, 2), which lie faintly behind; the
    rest, with ``colours`` and ``legend``, as ``scatter_codes``. Returns matplotlib's FuncAnimation.
    """
    from aae_mx.report.canvas import matplotlib

    ax = _axes(ax, FIGURE_INCHES, FIGURE_INCHES)
    if prior is not None:
        ax.scatter(prior[:, 0], prior[:, 1], s=POINT_SIZE, color="0.85", linewidths=0)
    first = next(iter(snapshots.values()))
    scatter_codes(first, labels, classes, limit=limit, ax=ax, **looks)
    points = ax.collections[prior is not None]
    for name in list(ax.texts):
        # They would not move with the points.
        name.remove()

    def draw(epoch):
        points.set_offsets(snapshots[epoch])
        ax.set_title("q(z) before training" if epoch == 0 else f"q(z) after epoch {epoch}")

    epochs = list(snapshots)
    # The end stays in view for a while.
    frames = epochs + epochs[-1:] * LAST_FRAMES
    return matplotlib.animation.FuncAnimation(ax.figure, draw, frames, init_func=lambda: None)


def shared_limit(*codes: np.ndarray) -> float:
    """A limit that shows nearly all points (all but 1 in 500) of several sets of codes.

    Above 0, also where all of them are the origin.
    """
    return 1.1 * max(float(np.quantile(np.abs(c), 0.998)) for c in codes if len(c)) or 1.0


def project(codes: np.ndarray, fitted: Any = None) -> tuple[np.ndarray, Any]:
    """Codes (N, code_dim) in two dimensions, and the PCA that took them there.

    Two-dimensional codes come back as they are, with None. ``fitted``: a PCA returned
    before, to project other codes alike. Of codes that do not span a plane, as one or equal
    ones, the directions that remain are any.
    """
    codes = np.asarray(codes)
    if codes.shape[1] == 2:
        return codes, None
    from sklearn.decomposition import PCA

    if fitted is None:
        # It takes no single code, and divides by the variance, which may be 0.
        several = codes if len(codes) > 1 else np.repeat(codes, 2, axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            fitted = PCA(n_components=2, random_state=0).fit(several)
    return fitted.transform(codes), fitted


def plane_of_heads(heads: Optional[np.ndarray]) -> Any:
    """A plane for ``project`` in which N heads (N, code_dim) lie evenly on a circle.

    For heads of which each has an axis of its own (paper, section 7); None in two dimensions, where
    they are seen as they are, and for None.
    """
    if heads is None or heads.shape[1] == 2:
        return None
    from sklearn.decomposition import PCA

    turn = 2 * np.pi * np.arange(len(heads)) / len(heads)
    axes = np.stack([np.cos(turn), np.sin(turn)]) @ np.linalg.pinv(heads).T
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    several = np.concatenate([heads, heads + 1])
    fitted = PCA(n_components=2, random_state=0).fit(several.astype(np.float64))
    fitted.mean_, fitted.components_ = np.zeros(heads.shape[1]), axes
    return fitted


def plane_codes(
    fitted: Any = None, extent: float = PLANE_EXTENT, steps: int = PLANE_STEPS
) -> np.ndarray:
    """The 441 codes of the decoded plane, row by row from the top left: (441, code_dim).

    With the PCA of ``project`` for codes of more dimensions, the plane is that of its two
    components, through the mean. ``extent`` and ``steps`` are for a plane of other size:
    (steps², code_dim).
    """
    line = np.linspace(-extent, extent, steps, dtype=np.float32)
    x, y = np.meshgrid(line, line[::-1])
    codes = np.stack([x.ravel(), y.ravel()], axis=1)
    return codes if fitted is None else fitted.inverse_transform(codes).astype(np.float32)


def plane_extent(prior: np.ndarray) -> float:
    """Half the side of a decoded plane for the prior of which ``prior`` (N, code_dim) are samples.

    The post's where they fill at least half of it; otherwise their limit, rounded up.
    """
    limit = shared_limit(prior)
    if PLANE_EXTENT / 2 < limit <= PLANE_EXTENT:
        return PLANE_EXTENT
    unit = 10.0 ** math.floor(math.log10(limit)) / 5
    return unit * math.ceil(limit / unit)


def show_plane(
    images: np.ndarray,
    title: str = "decoded plane",
    ax: Optional[Axes] = None,
    extent: float = PLANE_EXTENT,
) -> Axes:
    """The images decoded from ``plane_codes``, (441, height, width[, 3]), where their codes lie.

    ``extent`` as there.
    """
    ax = _axes(ax, FIGURE_INCHES, FIGURE_INCHES)
    half = extent / (PLANE_STEPS - 1)
    edge = extent + half
    _show(ax, tile(images, PLANE_STEPS), extent=(-edge, edge, -edge, edge))
    ax.set_title(title)
    ax.set_xlabel("z[0]")
    ax.set_ylabel("z[1]")
    return ax


def show_images(
    images: np.ndarray,
    columns: Optional[int] = None,
    title: Optional[str] = None,
    ax: Optional[Axes] = None,
) -> Axes:
    """Images in 0–1 as a sheet, ``columns`` to a row (as a square if None).

    They are (N, height, width), or (N, height, width, 3) in colour. The rest of the last row is
    white.
    """
    columns = columns or _square(len(images))
    ax = _axes(ax, FIGURE_INCHES, sheet_height(len(images), columns))
    _show(ax, tile(images, columns, rest=1))
    ax.set_axis_off()
    if title:
        ax.set_title(title)
    return ax


def show_samples(
    samples: np.ndarray, classes: Sequence[str], blocks: int, ax: Optional[Axes] = None
) -> Axes:
    """Samples of many classes: ``blocks`` classes to a row, before each one's images its name.

    ``samples``: (classes, samples of each, height, width), or (..., height, width, 3), in 0–1.
    """
    from aae_mx.report import canvas

    n, each, height, width = samples.shape[:4]
    cells = np.ones((n, each + 1, *samples.shape[2:]), samples.dtype)
    cells[:, 1:] = samples
    columns = blocks * (each + 1)
    ax = show_images(cells.reshape(-1, *samples.shape[2:]), columns, "prior samples, decoded", ax)
    # The size of a cell in points, and as many characters as fit into it, in at most three lines.
    size = 72 * FIGURE_INCHES / columns
    font = min(9, size / 4)
    length = int(size / font * 1.6)
    names = [shortened(name, 3 * length) for name in classes]
    families, _ = canvas.fonts(names)
    for i, name in enumerate(names):
        lines = [name[at : at + length] for at in range(0, len(name), length)]
        ax.text(
            ((i % blocks) * (each + 1) + 0.95) * width - 0.5,
            (i // blocks + 0.5) * height - 0.5,
            "\n".join(canvas.drawable(lines)),
            **{"fontsize": font, "fontfamily": families, "usetex": False},
            **{"horizontalalignment": "right", "verticalalignment": "center"},
        )
    return ax


def samples_columns(n: int, each: int) -> int:
    """How many of ``n`` classes with ``each`` samples lie beside each other, on a fair sheet."""
    return math.ceil(math.sqrt(n / (1.5 * (each + 1))))


def show_reconstructions(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    columns: int = 20,
    title: Optional[str] = None,
    ax: Optional[Axes] = None,
) -> Axes:
    """Pairs of columns, ten to a row by default: each original, its reconstruction on its right.

    Both are (N, height, width), or (N, height, width, 3), in 0–1.
    """
    pairs = np.stack([originals, reconstructions], axis=1).reshape(-1, *originals.shape[1:])
    return show_images(pairs, columns, title or "originals, each with its reconstruction", ax)


def show_interpolations(
    first: np.ndarray,
    between: np.ndarray,
    last: np.ndarray,
    title: Optional[str] = None,
    ax: Optional[Axes] = None,
) -> Axes:
    """One row per pair of images: the first, what is decoded on the way, the last.

    ``first``, ``last``: (N, height, width), or (N, height, width, 3), in 0–1; ``between``:
    (N, steps, height, width), or (N, steps, height, width, 3).
    """
    rows = np.concatenate([first[:, None], between, last[:, None]], axis=1)
    title = title or "from an original (left) to another (right), by the line between their codes"
    return show_images(rows.reshape(-1, *first.shape[1:]), rows.shape[1], title, ax)


# Of a history's columns, what stands before their ending says whose they are.
PANELS = {
    "_l2": "mean L2 norm of the error per image",
    "_entropy": "cross-entropy (nats)",
    "_accuracy": "accuracy",
    "_fooled": "accuracy",
    "_error": "share of images told wrong",
}
CURVES = {
    "reconstruction_l2": "in training",
    "held_out_l2": "held out",
    "discriminator_accuracy": "discriminator right",
    "generator_accuracy": "discriminator fooled",
    "training_error": "in training, with labels",
    "kind_accuracy": "kind: discriminator right",
    "style_accuracy": "style: discriminator right",
    "kind_fooled": "kind: discriminator fooled",
    "style_fooled": "style: discriminator fooled",
}


def loss_panels(history: dict[str, list[float]]) -> dict[str, dict[str, str]]:
    """What there is to draw of a history, {label of an axis: {column: name of its curve}}."""
    panels: dict[str, dict[str, str]] = {label: {} for label in PANELS.values()}
    for column in history:
        for end, label in PANELS.items():
            if column.endswith(end):
                named = column[: -len(end)].replace("_", " ")
                panels[label][column] = CURVES.get(column, named)
    return {label: columns for label, columns in panels.items() if columns}


def loss_curves(
    history: dict[str, list[float]], axes: Any = None, colours: Optional[str] = None
) -> Any:
    """Axes of the history's columns by epoch: reconstruction, entropies, accuracies, errors.

    ``history``: {column: list of one value per epoch}, as in a run's history.csv; see
    ``loss_panels`` for what is drawn. ``colours`` as in ``class_colours``, by default matplotlib's.
    Returns the array of axes.
    """
    from aae_mx.report.canvas import matplotlib, pyplot

    panels = loss_panels(history)
    if axes is None:
        size = {"figsize": (5 * len(panels), 4), "layout": "constrained"}
        axes = np.atleast_1d(pyplot().subplots(1, len(panels), **size)[1])
    for ax, (label, columns) in zip(axes, panels.items()):
        if colours is not None:
            n = len(columns)
            shades = class_colours(n, colours)(np.linspace(0, 1, n))
            ax.set_prop_cycle(color=shades)
        for column, name in columns.items():
            ax.plot(history["epoch"], history[column], marker=".", label=name)
        ax.set_xlabel("epoch")
        ax.set_ylabel(label)
        ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        if len(history["epoch"]) == 1:
            ax.set_xticks(history["epoch"])
        _calm(ax)
        ax.legend()
    return axes


def show_confusion(
    labels: np.ndarray,
    answers: np.ndarray,
    classes: Sequence[str],
    title: str = "",
    ax: Optional[Axes] = None,
) -> Axes:
    """How often images of each class (rows) are taken for each (columns), in per cent of the row.

    ``labels``, ``answers``: positions in ``classes``, (N,). The errors are coloured by how many
    they are; in the title, the share of all that is told wrong.
    """
    from aae_mx.report import canvas

    n = len(classes)
    counts = np.zeros((n, n), int)
    np.add.at(counts, (labels, answers), 1)
    shares = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    wrong = shares * (1 - np.eye(n))
    ax = _axes(ax, FIGURE_INCHES, FIGURE_INCHES)
    ax.imshow(wrong, cmap="Reds", vmin=0, vmax=max(1, 2 * np.max(wrong)))
    if n <= MANY_CLASSES:
        for row, column in np.argwhere(counts):
            value = f"{shares[row, column]:.1f}"
            bold = "bold" if row == column else "normal"
            ax.text(column, row, value, ha="center", va="center", fontsize=9, fontweight=bold)
    names = canvas.drawable([shortened(name, NAME_LENGTH) for name in classes])
    families, _ = canvas.fonts(classes)
    turned = {"rotation": 90} if max(map(len, names)) > 3 else {}
    font = {"fontfamily": families, "fontsize": 10 if n <= MANY_CLASSES else 6}
    ax.set_xticks(range(n), names, **font, **turned)
    ax.set_yticks(range(n), names, **font)
    ax.set(xlabel="taken for", ylabel="class")
    error = np.mean(np.asarray(labels) != np.asarray(answers))
    ax.set_title(f"{title}: {len(labels):,}, of which {error:.2%} are told wrong".lstrip(": "))
    return ax


def _calm(ax):
    """Show values that hardly differ as a level line, not as a wild one on a scale of its own."""
    low, high = ax.dataLim.intervaly
    size = max(abs(low), abs(high))
    if 0 <= high - low < 1e-3 * size:
        ax.set_ylim(low - 0.05 * size, high + 0.05 * size)


def sheet_height(n: int, columns: Optional[int] = None) -> float:
    """The height in inches of a sheet of ``n`` square images, FIGURE_INCHES wide."""
    columns = columns or _square(n)
    return FIGURE_INCHES * math.ceil(n / columns) / columns


def sheet_columns(image_shape: Shape, most: int) -> int:
    """How many images, at most ``most``, lie beside each other on a sheet without shrinking."""
    return max(2, min(most, SHEET_PIXELS // image_shape[1]))


def _square(n):
    return math.ceil(math.sqrt(n))


def tile(images: np.ndarray, columns: int, rest: float = 0) -> np.ndarray:
    """One sheet (rows · height, columns · width) of images (N, height, width), and ``rest``."""
    images = np.asarray(images)
    n, height, width = images.shape[:3]
    rows = math.ceil(n / columns)
    sheet = np.full((rows * columns, *images.shape[1:]), rest, images.dtype)
    sheet[:n] = images
    sheet = sheet.reshape(rows, columns, *images.shape[1:]).swapaxes(1, 2)
    return sheet.reshape(rows * height, columns * width, *images.shape[3:])


def _show(ax, sheet, **kwargs):
    # A sheet of large images may have more pixels than the figure, or nearly as many.
    smooth = "nearest" if max(sheet.shape[:2]) < 0.8 * SHEET_PIXELS else SMOOTH
    ax.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation=smooth, **kwargs)


def _axes(ax, width, height):
    if ax is not None:
        return ax
    from aae_mx.report.canvas import pyplot

    return pyplot().subplots(figsize=(width, height), layout="constrained")[1]
