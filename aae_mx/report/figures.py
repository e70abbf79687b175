"""The figures of a run, drawn from a trained model and its data into files."""

from __future__ import annotations

import functools
import io
import numbers
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence

import numpy as np

from aae_mx.errors import ConfigError, InputError
from aae_mx.hints import AAE, Axes, Callback, Dataset, Drawing, PathLike
from aae_mx.report import exhibits, plotting
from aae_mx.text import printable, say, shortened

# As many training images as the post's q(z) shows, and as many prior samples.
N_POINTS = 12_800
N_IMAGES = 100
# On the sheet of samples, where there are many classes; and rows of the sheet of styles.
SAMPLES_OF_EACH, STYLES, WALK_STEPS = 3, 10, 20
# Pixels per inch: of PNG files, and of what is pixels within the others.
DPI, DPI_WITHIN = 100, 140
# Of every mode here, and drawn last.
LAST = "losses"
# {format: what it says of its making}: no date or version, so the same figure is the same bytes.
FORMATS = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}
# Of so many points a file takes about 0.8 MB (20 bytes each in PDF, 144 in SVG); beyond, they are
# pixels within it, and so is the post's q(z) in SVG.
MOST_SHAPES = {"pdf": 40_000, "svg": 5_000}
MIN_DPI, MAX_DPI, MAX_POINTS = 10, 1200, 1_000_000
# Members of a cluster that are shown beside its head, of so many images, and how many clusters.
MEMBERS, N_CLUSTERED, MOST_CLUSTERS = 19, 5000, 40
# The animation: its file, codes, size and speed, so that it stays small enough for a web page.
MOVING, N_MOVING, MOVING_INCHES, MOVING_DPI, FRAMES_PER_SECOND = "training.gif", 1500, 6, 70, 3


@dataclass(frozen=True)
class Looks:
    """How figures look. Raises ConfigError for what cannot be.

    ``format``: "png", "pdf" or "svg"; ``dpi``: pixels per inch, by default 100, or 140 within PDF
    and SVG; ``colours``: of classes and curves, as in ``plotting.class_colours``; ``legend``: of
    the classes; ``points``: how many p(z) and q(z) show, if there are as many.
    """

    format: str = "png"
    dpi: Optional[int] = None
    colours: Optional[str] = None
    legend: bool = True
    points: int = N_POINTS

    def __post_init__(self):
        if self.format not in FORMATS:
            names = ", ".join(FORMATS)
            raise ConfigError("format", self.format, f"expected one of {names}")
        limits = {"dpi": (MIN_DPI, MAX_DPI), "points": (1, MAX_POINTS)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not (
                isinstance(value, numbers.Integral) and low <= value <= high
            ):
                expected = f"expected a whole number from {low} to {high:,}"
                raise ConfigError(name, value, expected)
        plotting.class_colours(1, self.colours)

    @property
    def pixels_per_inch(self) -> int:
        return self.dpi or (DPI if self.format == "png" else DPI_WITHIN)


def plot_run(
    model: AAE,
    out: Optional[PathLike] = None,
    dataset: Optional[Dataset] = None,
    seed: int = 0,
    quiet: bool = False,
    **looks: Any,
) -> Path:
    """Write the figures of a trained model into ``out``; returns that directory.

    Which they are, its mode says (``Mode.figures``). ``out`` is RUN/figures by default, ``dataset``
    the one that the run was trained on. q(z) shows the first 12,800 training images, as the post
    does; its points in the semi-supervised case are coloured by the true labels, known to the model
    or not. What the data do not suffice for is said on stderr unless ``quiet``. ``looks``: format,
    dpi, colours, legend and points, as ``Looks`` has them. Raises ConfigError for those that cannot
    be, and InputError, once the others are drawn, if a figure could not be.
    """
    from aae_mx.model import load_data

    how = Looks(**looks)
    dataset = dataset or load_data(model)
    out = _directory(model, out)
    scene = Scene(model, dataset, seed, how)
    figures = {}
    for name in sorted(model.mode.figures, key=lambda name: name == LAST):
        draw, size = figure_of(scene, name)
        if draw is not None:
            figures[f"{name}.{how.format}"] = draw, size
        elif not quiet:
            say(f"no {name}.{how.format}: {size}", err=True)
    failed: dict[str, list[str]] = {}
    for name, (draw, size) in figures.items():
        try:
            with saved(out / name, **size, looks=how) as axes:
                draw(axes)
        except Exception as error:  # noqa: B902 - the others are drawn, whatever it is
            why = " ".join(str(error).replace(f"{out / name}: ", "").split())
            why = printable(why) or type(error).__name__
            failed.setdefault(why, []).append(name)
    if failed:
        reasons = "; ".join(f"{', '.join(names)}: {why}" for why, names in failed.items())
        raise InputError(f"{out}: not all figures could be drawn: {reasons}")
    if not quiet:
        say_what_is_lacking((*model.classes, *model.mode.kinds))
    return out


def has_all_figures(run: PathLike) -> bool:
    """Whether RUN/figures was drawn to the end since the last epoch."""
    from aae_mx.runs.history import HISTORY

    try:
        drawn = Path(run, "figures", f"{LAST}.png").stat().st_mtime
        return drawn >= Path(run, HISTORY).stat().st_mtime
    except OSError:
        return False


def figures_every(n: int) -> Callback:
    """A callback for ``aae_mx.fit`` and ``resume`` that draws q(z) after every ``n``-th epoch.

    Into RUN/figures/qz_epoch_0005.png and so on, each as qz.png would be then. A figure that cannot
    be drawn is told on stderr, and the training goes on. Raises ConfigError unless ``n`` is a whole
    number of at least 1.
    """
    if not isinstance(n, numbers.Integral) or n < 1:
        raise ConfigError("figures_every", n, "expected a whole number of at least 1")
    shown = []

    def draw(epoch, metrics):
        if epoch % n:
            return
        if not shown:
            raise InputError("figures_every: it has no model; give fit itself the callback")
        model, dataset = shown
        # As many digits for all of a run, so that they sort.
        digits = max(4, len(str(model.config.epochs)))
        name = f"qz_epoch_{epoch:0{digits}}.png"
        try:
            figure, size = FIGURES["qz"](Scene(model, dataset))
            with saved(_directory(model, None) / name, **size) as axes:
                figure(axes)
        except Exception as error:  # noqa: B902 - the training is worth more, whatever it is
            why = printable(str(error)) or type(error).__name__
            with suppress(InputError):
                say(f"Warning: no {name}: {why}; the training goes on", err=True)

    def attach(model, dataset):
        shown[:] = model, dataset

    # The training shows it the model that it trains: one that is read from the last checkpoint
    # would take as long again, and without --checkpoint-every 1 be one of before.
    draw.attach = attach
    return draw


class Scene:
    """A trained model with its data, and what several figures show of them."""

    def __init__(
        self, model: AAE, dataset: Dataset, seed: int = 0, looks: Optional[Looks] = None
    ) -> None:
        self.model, self.dataset, self.seed = model, dataset, seed
        self.looks = looks or Looks()
        self.classes, self.kinds = model.classes, model.mode.kinds
        self.shape = model.image_shape
        # However few are shown, they are seen from where all would be.
        n, shown = max(N_POINTS, self.looks.points), slice(self.looks.points)
        codes = model.encode(dataset.train_images[:n])
        prior, pieces = model.sample_prior(n, seed=seed)
        self.extent = plotting.plane_extent(prior)
        heads = model.mode.head_codes()
        codes, self.fitted = plotting.project(codes, plotting.plane_of_heads(heads))
        prior, _ = plotting.project(prior, self.fitted)
        self.limit = plotting.shared_limit(codes, prior)
        self.codes, self.prior = codes[shown], prior[shown]
        self.heads = None if heads is None else plotting.project(heads, self.fitted)[0]
        self.seen = "" if self.fitted is None else " along the first two principal components"
        if heads is not None and self.fitted is not None:
            self.seen = ", seen so that the heads lie on a circle"
        # Or no piece of the prior stands for a label.
        self.pieces = pieces[shown] if pieces is not None and model.mode.labels_are_pieces else None
        self.labels = dataset.train_labels[shown] if model.classes else None

    def scatter(
        self,
        draw: Callable[..., Any],
        points: np.ndarray,
        labels: Optional[np.ndarray],
        names: Sequence[str],
        title: str,
        axes: Axes,
    ) -> None:
        """Draw points by ``draw``, of plotting, as the others and as was asked for."""
        how = self.looks.colours, self.looks.legend
        draw(points, labels, names, f"{title}{self.seen}", self.limit, axes, *how)

    @functools.cached_property
    def history(self) -> dict[str, list[float]]:
        from aae_mx.runs.history import read_history

        return read_history(self.model.run)

    @property
    def noun(self) -> str:
        return self.model.noun

    @functools.cached_property
    def originals(self) -> exhibits.Exhibits:
        """The first held-out images, or others where there are none; see ``exhibits.held_out``."""
        return exhibits.held_out(self.model, self.dataset, N_IMAGES)

    @functools.cached_property
    def _limits(self):
        return exhibits.lowest_and_highest(self.model, self.dataset)

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """Images, as data has them or decoded, as floats in 0–1: (N, *shape)."""
        return exhibits.as_pixels(self.model, images, self._limits)

    def unseen(self, n: Optional[int] = None) -> exhibits.Exhibits:
        """The first ``n`` images that the training did not see, as Exhibits.

        Those of the validation where there are some, for the others are for evaluate. Where there
        are neither, those that it saw.
        """
        if self.model.config.validation:
            return exhibits.validation(self.model, self.dataset, n)
        return exhibits.held_out(self.model, self.dataset, n)


def _pz(scene):
    return lambda axes: scene.scatter(
        plotting.scatter_prior, scene.prior, scene.pieces, scene.kinds, "p(z)", axes
    ), {}


def _qz(scene):
    def draw(axes):
        scatter = plotting.scatter_codes
        scene.scatter(scatter, scene.codes, scene.labels, scene.classes, "q(z)", axes)
        if scene.heads is not None:
            plotting.mark_heads(scene.heads, scene.kinds, axes)

    return draw, {}


def _output(scene):
    def draw(axes):
        codes = plotting.plane_codes(scene.fitted, scene.extent)
        plane = scene.pixels(scene.model.decode(codes))
        plotting.show_plane(plane, f"decoded plane{scene.seen}", axes, scene.extent)
        if scene.fitted is not None:
            axes.set(xlabel="first component", ylabel="second component")

    return draw, {}


def _reconstructions(scene):
    columns = plotting.sheet_columns(scene.shape, 20) // 2 * 2
    images, labels, what, _ = scene.originals
    n = min(columns * columns // 2, len(images))
    if not n:
        return None, f"none of the {what} {scene.noun} has a label"
    title = None
    if what != "held-out":
        title = f"{what} {scene.noun}, each with its reconstruction (none are held out)"

    def draw(axes):
        again = scene.model.reconstruct(images[:n], labels[:n])
        pictures = map(scene.pixels, (images[:n], again))
        plotting.show_reconstructions(*pictures, columns, title, axes)

    return draw, {"height": 0.4 + plotting.sheet_height(2 * n, columns)}


def _interpolations(scene):
    steps = plotting.sheet_columns(scene.shape, 10)
    images, labels, what, _ = scene.originals
    pairs = min(steps, len(images) // 2)
    if not pairs:
        there = "is one" if len(images) else "are none"
        return None, f"it needs two {what} {scene.noun}, and there {there}"
    first, last = images[:pairs], images[pairs : 2 * pairs]
    title = None
    if what != "held-out":
        title = f"from a {what} image (left) to another (right), by the line between their codes"

    def draw(axes):
        between = interpolations(scene.model, first, last, steps - 2, labels[: 2 * pairs])
        between = scene.pixels(between).reshape(pairs, steps - 2, *scene.shape)
        ends = map(scene.pixels, (first, last))
        plotting.show_interpolations(next(ends), between, next(ends), title, axes)

    return draw, {"height": 0.4 + plotting.sheet_height(steps * pairs, steps)}


def _losses(scene):
    if not scene.history:
        return None, "its history has no epochs"
    n = len(plotting.loss_panels(scene.history))
    size = {"width": 5 * n, "height": 4, "columns": n}
    colours = scene.looks.colours
    return lambda axes: plotting.loss_curves(scene.history, np.atleast_1d(axes), colours), size


def _samples(scene):
    """The sheet of decoded prior samples.

    If labels mean something, every column holds the samples of one label or, where there are
    many, each label has a few beside its name.
    """
    model, columns = scene.model, plotting.sheet_columns(scene.shape, 10)
    n, labels, n_labels = columns * columns, None, len(scene.kinds)
    if model.mode.labelled:
        if n_labels > plotting.MANY_CLASSES:
            return _labelled_samples(scene)
        columns = n_labels * max(1, columns // n_labels)
        n = max(n - n % columns, columns)
        labels = np.arange(n) % n_labels

    def draw(axes):
        samples = scene.pixels(model.sample(n, labels, scene.seed))
        plotting.show_images(samples, columns, "prior samples, decoded", axes)

    return draw, {}


def _labelled_samples(scene):
    n, model = len(scene.kinds), scene.model
    blocks = plotting.samples_columns(n, SAMPLES_OF_EACH)

    def draw(axes):
        labels = np.repeat(np.arange(n), SAMPLES_OF_EACH)
        samples = scene.pixels(model.sample(len(labels), labels, scene.seed))
        samples = samples.reshape(n, SAMPLES_OF_EACH, *scene.shape)
        plotting.show_samples(samples, scene.kinds, blocks, axes)

    cells = SAMPLES_OF_EACH + 1
    return draw, {"height": 0.4 + plotting.sheet_height(cells * n, cells * blocks)}


def _walks(scene):
    """Decoded codes along the axis of each piece of the prior (paper, figure 4)."""
    model, n = scene.model, len(scene.kinds) or 10
    steps = plotting.sheet_columns(scene.shape, WALK_STEPS)
    prior, shown = model.config.prior_object, min(n, steps)
    walks = [prior.walk(steps, model.code_dim, label, n) for label in range(shown)]

    def draw(axes):
        images = scene.pixels(model.decode(np.concatenate(walks)))
        title = "along the axis of a piece of the prior, a row for each"
        plotting.show_images(images, steps, title, axes)

    return draw, {"height": 0.4 + plotting.sheet_height(shown * steps, steps)}


def _styles(scene):
    """One style a row, the kinds as columns (paper, figure 7)."""
    n_labels = len(scene.kinds)
    rows = min(STYLES, max(1, plotting.sheet_columns(scene.shape, STYLES)))

    def draw(axes):
        codes, _ = scene.model.sample_prior(rows, seed=scene.seed)
        images = scene.model.decode(
            np.repeat(codes, n_labels, axis=0), np.tile(np.arange(n_labels), rows)
        )
        plotting.show_images(
            scene.pixels(images), n_labels, "one style z a row, one kind y a column", axes
        )

    return draw, {"height": 0.4 + plotting.sheet_height(rows * n_labels, n_labels)}


def _clusters(scene):
    """A row for each cluster: its head, decoded, and images that it has (paper, figure 9)."""
    images, _, what, _ = scene.unseen(N_CLUSTERED)
    n = len(scene.kinds)
    # More rows would be too small to see.
    shown = min(n, MOST_CLUSTERS)

    def draw(axes):
        answers = scene.model.classify(images).argmax(axis=1)
        heads = scene.model.decode(np.zeros((shown, scene.model.code_dim)), np.arange(shown))
        cells = np.ones((shown, MEMBERS + 1, *scene.shape), np.float32)
        for kind, head in enumerate(scene.pixels(heads)):
            members = np.flatnonzero(answers == kind)[:MEMBERS]
            cells[kind, 0] = head
            cells[kind, 1 : 1 + len(members)] = scene.pixels(images[members])
        title = f"a row for each cluster: its head (z = 0), then {what} images that it has"
        plotting.show_images(cells.reshape(-1, *scene.shape), MEMBERS + 1, title, axes)

    return draw, {"height": 0.4 + plotting.sheet_height(shown * (MEMBERS + 1), MEMBERS + 1)}


def _confusion(scene):
    images, labels, what, _ = scene.unseen()
    known = labels >= 0
    if not known.any():
        return None, f"none of the {what} {scene.noun} has a label"

    def draw(axes):
        answers = scene.model.classify(images).argmax(axis=1)[known]
        title = f"{what} {scene.noun}"
        plotting.show_confusion(labels[known], answers, scene.classes, title, axes)

    return draw, {}


# What Mode.figures can name: {name: function of a Scene}, which gives how to draw it on axes and
# the size of its figure; or None and why not.
FIGURES = {
    "pz": _pz,
    "qz": _qz,
    "output": _output,
    "reconstructions": _reconstructions,
    "samples": _samples,
    "interpolations": _interpolations,
    "walks": _walks,
    "styles": _styles,
    "clusters": _clusters,
    "confusion": _confusion,
    "losses": _losses,
}


def figure_of(scene: Scene, name: str) -> Drawing:
    """How a figure of a scene is drawn, and its size; as the functions of FIGURES."""
    from aae_mx.report import profiles

    others = profiles.FIGURES if len(scene.shape) == 1 else {}
    return {**FIGURES, **others}[name](scene)


def figures_directory(run: Path) -> Path:
    """RUN/figures. Raises InputError if it cannot be written, or is a link out of the run."""
    from aae_mx.files import check_directory, inside

    path = inside(run, run / "figures")
    check_directory(path)
    return path


def _directory(model: AAE, out: Optional[PathLike]) -> Path:
    """``out``, or the run's directory of figures, which is made if need be."""
    from aae_mx.files import make_directory

    out = figures_directory(model.run) if out is None else Path(out)
    make_directory(out)
    return out


def say_what_is_lacking(classes: Sequence[str]) -> None:
    """Say on stderr for which characters of the classes' names figures have a box."""
    from aae_mx.report.canvas import BOX, fonts

    lacking = "".join(sorted(fonts(classes)[1]))
    if lacking:
        say(
            f"{BOX} stands in figures for characters of class names that no installed font has: "
            f"{shortened(lacking, 20)}",
            err=True,
        )


def interpolations(
    model: AAE, first: np.ndarray, last: np.ndarray, steps: int, labels: Optional[np.ndarray] = None
) -> np.ndarray:
    """Decoded codes on the lines between those of images: (N, steps, *image_shape), as ``decode``.

    ``first``, ``last``: as many images, where the lines begin and end; ``labels``: of all of them,
    for modes that have to be told.
    """
    ends = (labels[: len(first)], labels[len(first) :]) if labels is not None else (None, None)
    way = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    between = [
        ((1 - way) * start[:, None] + way * end[:, None]).reshape(-1, start.shape[-1])
        for start, end in zip(*map(model.represent, (first, last), ends))
    ]
    return model.decode(*between).reshape(-1, steps, *model.image_shape)


@contextmanager
def saved(path: PathLike, looks: Optional[Looks] = None, **size: Any) -> Iterator[Axes]:
    """Axes (an array of them if there are several) of a figure that is then saved.

    Written aside and renamed. ``size`` as of ``new_figure``.
    """
    from aae_mx.files import write_aside

    figure, axes = new_figure(**size)
    yield axes
    content = encoded(figure, looks or Looks())
    write_aside(path, lambda file: file.write(content))


def new_figure(
    width: float = plotting.FIGURE_INCHES,
    height: float = plotting.FIGURE_INCHES,
    rows: int = 1,
    columns: int = 1,
) -> tuple[Any, Axes]:
    """A figure of so many inches and its axes, without pyplot: no display is needed."""
    from aae_mx.report.canvas import matplotlib

    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns)


def encoded(figure: Any, looks: Looks) -> bytes:
    """The bytes of a figure's file; the same figure is the same bytes."""
    from aae_mx.report.canvas import matplotlib

    if looks.format != "png":
        for points in (points for ax in figure.axes for points in ax.collections):
            points.set_rasterized(len(points.get_offsets()) > MOST_SHAPES[looks.format])
        for image in (image for ax in figure.axes for image in ax.images):
            if image.get_interpolation() == plotting.SMOOTH:
                # The reader's program scales it; the file holds its own pixels, which are fewer.
                image.set_interpolation("none")
    file, metadata = io.BytesIO(), FORMATS[looks.format]
    # Names within an SVG depend on the salt; a PDF's fonts are of a type that journals take.
    with matplotlib.rc_context({"svg.hashsalt": "aae_mx", "pdf.fonttype": 42}):
        figure.savefig(file, format=looks.format, dpi=looks.pixels_per_inch, metadata=metadata)
    return file.getvalue()


def animate_run(
    model: AAE,
    out: Optional[PathLike] = None,
    dataset: Optional[Dataset] = None,
    seed: int = 0,
    colours: Optional[str] = None,
    legend: bool = True,
) -> Path:
    """Write training.gif, how q(z) of a trained model became p(z), into ``out``; returns the file.

    It shows the first N_MOVING held-out images; arguments as of ``plot_run``. Raises InputError
    for a run without snapshots, or without held-out images.
    """
    from aae_mx.files import write_aside
    from aae_mx.model import load_data
    from aae_mx.report.canvas import matplotlib
    from aae_mx.runs.snapshots import read_snapshots

    dataset = dataset or load_data(model)
    labels = dataset.test_labels
    if not len(labels):
        raise InputError(f"{model.run}: no {model.noun} are held out, so none can move")
    snapshots = read_snapshots(model.run, len(labels), model.code_dim)
    last = max(snapshots)
    prior, _ = model.sample_prior(N_MOVING, seed=seed)
    _, fitted = plotting.project(snapshots[last])
    prior, _ = plotting.project(prior, fitted)
    codes = {
        epoch: plotting.project(codes[:N_MOVING], fitted)[0] for epoch, codes in snapshots.items()
    }
    out = _directory(model, out)
    figure = matplotlib.figure.Figure(figsize=(MOVING_INCHES, MOVING_INCHES), layout="constrained")
    animation = plotting.animate_codes(
        codes,
        labels[:N_MOVING] if model.classes else None,
        model.classes,
        prior,
        limit=plotting.shared_limit(codes[last], prior),
        ax=figure.subplots(),
        colours=colours,
        legend=legend,
    )
    # Laid out once, so that the axes do not tremble.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    try:
        # The writer takes the name of a file only.
        with tempfile.TemporaryDirectory() as directory:
            drawn = Path(directory, MOVING)
            writer = matplotlib.animation.PillowWriter(fps=FRAMES_PER_SECOND)
            animation.save(drawn, writer, dpi=MOVING_DPI)
            content = drawn.read_bytes()
    except OSError as error:
        raise InputError(f"{MOVING}: cannot be drawn ({error})") from error
    write_aside(out / MOVING, lambda file: file.write(content))
    say_what_is_lacking(model.classes)
    return out / MOVING
