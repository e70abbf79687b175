"""``python -m aae_mx.plot``: draw the figures of a run."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np

from aae_mx import plotting
from aae_mx.cli import command, option_place, option_run, option_seed
from aae_mx.errors import InputError
from aae_mx.text import printable, say, shortened

# As many training images as the post's q(z) shows, and as many prior samples.
N_POINTS = 12_800
N_IMAGES = 100
# On the sheet of samples, where there are many classes.
SAMPLES_OF_EACH = 3
DPI = 100
# The animation: its file, codes, size and speed, so that it stays small enough for a web page.
MOVING, N_MOVING, MOVING_INCHES, MOVING_DPI, FRAMES_PER_SECOND = "training.gif", 1500, 6, 70, 3


@command(name="plot", epilog="Example: python -m aae_mx.plot runs/swiss_roll_supervised")
@option_run()
@click.option("--out", metavar="DIR", help="Where to write them. [default: RUN/figures]")
@click.option(
    "--animate",
    is_flag=True,
    help="Write training.gif instead: q(z) of the held-out images, epoch by epoch. For runs of "
    "train --snapshots.",
)
@option_place()
@option_seed("Decides the prior samples.")
def main(run, out, animate, images, data_dir, seed):
    """Draw p(z), q(z), the decoded plane, reconstructions, samples and losses of a run.

    The files (pz.png, qz.png, output.png, reconstructions.png, samples.png, interpolations.png,
    losses.png) of an earlier call are replaced.
    """
    from aae_mx.run import load, load_data

    model = load(run)
    dataset = load_data(model, images, data_dir)
    if animate:
        say(f"animation: {animate_run(model, out, dataset, seed)}")
    else:
        say(f"figures: {plot_run(model, out, dataset, seed)}")


def plot_run(model, out=None, dataset=None, seed=0, quiet=False):
    """Write the seven figures of a trained model into ``out``; returns that directory.

    ``out`` is RUN/figures by default, ``dataset`` the one that the run was trained on. q(z)
    shows the first 12,800 training images, as the post does; its points in the
    semi-supervised case are coloured by the true labels, known to the model or not. What the
    data do not suffice for is said on stderr unless ``quiet``. Raises InputError, once the others
    are drawn, if a figure could not be.
    """
    import aae_mx.canvas  # noqa: F401 - if that fails, then once
    from aae_mx.data import to_unit
    from aae_mx.run import load_data, read_history

    history = read_history(model.run)
    dataset = dataset or load_data(model)
    out = _directory(model, out)
    codes = model.encode(dataset.train_images[:N_POINTS])
    prior, pieces = model.sample_prior(N_POINTS, seed=seed)
    extent = plotting.plane_extent(prior)
    codes, fitted = plotting.project(codes)
    prior, _ = plotting.project(prior, fitted)
    limit = plotting.shared_limit(codes, prior)
    seen = "" if fitted is None else " along the first two principal components"
    if model.config.formulation == "unsupervised":
        # No piece of the prior stands for a label.
        pieces = None
    labels = dataset.train_labels[:N_POINTS] if model.classes else None
    originals = to_unit(dataset.test_images[:N_IMAGES]).reshape(-1, *model.image_shape)

    def pz(axes):
        plotting.scatter_prior(prior, pieces, model.classes, f"p(z){seen}", limit, axes)

    def qz(axes):
        plotting.scatter_codes(codes, labels, model.classes, f"q(z){seen}", limit, axes)

    def output(axes):
        plane = model.decode(plotting.plane_codes(fitted, extent))
        plotting.show_plane(plane, f"decoded plane{seen}", axes, extent)
        if fitted is not None:
            axes.set(xlabel="first component", ylabel="second component")

    def reconstructions(axes):
        plotting.show_reconstructions(shown, model.reconstruct(shown), columns, ax=axes)

    def interpolated(axes):
        between = interpolations(model, first, last, steps - 2)
        plotting.show_interpolations(first, between, last, ax=axes)

    def losses(axes):
        plotting.loss_curves(history, axes)

    columns = plotting.sheet_columns(model.image_shape, 20) // 2 * 2
    shown = originals[: columns * columns // 2]
    steps = plotting.sheet_columns(model.image_shape, 10)
    pairs = min(steps, len(originals) // 2)
    first, last = originals[:pairs], originals[pairs : 2 * pairs]
    figures = {
        "pz.png": (pz, {}),
        "qz.png": (qz, {}),
        "output.png": (output, {}),
        "reconstructions.png": (
            reconstructions,
            {"height": 0.4 + plotting.sheet_height(2 * len(shown), columns)},
        ),
        "samples.png": _samples(model, seed),
        "interpolations.png": (
            interpolated,
            {"height": 0.4 + plotting.sheet_height(steps * pairs, steps)},
        ),
        "losses.png": (losses, {"width": 15, "height": 4, "columns": 3}),
    }
    if not pairs:
        del figures["interpolations.png"]
        if not quiet:
            say("no interpolations.png: it needs two held-out images, and there is one", err=True)
    failed = {}
    for name, (draw, size) in figures.items():
        try:
            with saved(out / name, **size) as axes:
                draw(axes)
        except Exception as error:  # noqa: B902 - the others are drawn, whatever it is
            why = " ".join(str(error).replace(f"{out / name}: ", "").split())
            why = printable(why) or type(error).__name__
            failed.setdefault(why, []).append(name)
    if failed:
        reasons = "; ".join(f"{', '.join(names)}: {why}" for why, names in failed.items())
        raise InputError(f"{out}: not all figures could be drawn: {reasons}")
    if not quiet:
        _say_what_is_lacking(model.classes)
    return out


def figures_directory(run):
    """RUN/figures. Raises InputError if it cannot be written, or is a link out of the run."""
    from aae_mx.files import check_directory, inside

    path = inside(run, run / "figures")
    check_directory(path)
    return path


def _directory(model, out):
    """``out``, or the run's directory of figures, which is made if need be."""
    from aae_mx.files import make_directory

    out = figures_directory(model.run) if out is None else Path(out)
    make_directory(out)
    return out


def _say_what_is_lacking(classes):
    """Say on stderr for which characters of the classes' names figures have a box."""
    from aae_mx.canvas import BOX, fonts

    lacking = "".join(sorted(fonts(classes)[1]))
    if lacking:
        say(
            f"{BOX} stands in figures for characters of class names that no installed font has: "
            f"{shortened(lacking, 20)}",
            err=True,
        )


def interpolations(model, first, last, steps):
    """Decoded codes on the lines between those of images: (N, steps, *image_shape) in 0–1.

    ``first``, ``last``: as many images, where the lines begin and end.
    """
    start, end = (model.encode(images)[:, None] for images in (first, last))
    way = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    codes = (1 - way) * start + way * end
    return model.decode(codes.reshape(-1, codes.shape[-1])).reshape(-1, steps, *model.image_shape)


def _samples(model, seed):
    """How to draw the sheet of decoded prior samples, and the size of its figure.

    If labels mean something, every column holds the samples of one label or, where there are
    many, each label has a few beside its name.
    """
    columns = plotting.sheet_columns(model.image_shape, 10)
    n, labels = columns * columns, None
    n_labels = len(model.classes)
    if model.config.formulation != "unsupervised":
        if n_labels > plotting.MANY_CLASSES:
            return _labelled_samples(model, seed)
        columns = n_labels * max(1, columns // n_labels)
        n = max(n - n % columns, columns)
        labels = np.arange(n) % n_labels

    def draw(axes):
        samples = model.sample(n, labels, seed)
        plotting.show_images(samples, columns, "prior samples, decoded", axes)

    return draw, {}


def _labelled_samples(model, seed):
    n = len(model.classes)
    blocks = plotting.samples_columns(n, SAMPLES_OF_EACH)

    def draw(axes):
        labels = np.repeat(np.arange(n), SAMPLES_OF_EACH)
        samples = model.sample(len(labels), labels, seed)
        samples = samples.reshape(n, SAMPLES_OF_EACH, *model.image_shape)
        plotting.show_samples(samples, model.classes, blocks, axes)

    cells = SAMPLES_OF_EACH + 1
    return draw, {"height": 0.4 + plotting.sheet_height(cells * n, cells * blocks)}


@contextmanager
def saved(path, width=plotting.FIGURE_INCHES, height=plotting.FIGURE_INCHES, rows=1, columns=1):
    """Axes (an array of them if there are several) of a figure that is then saved.

    Written aside and renamed. Without pyplot, so that no display is needed.
    """
    from aae_mx.canvas import matplotlib
    from aae_mx.files import write_aside

    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    yield figure.subplots(rows, columns)
    # No date or version in the file: the same figure is the same bytes.
    write_aside(
        path,
        lambda file: figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None}),
    )


def animate_run(model, out=None, dataset=None, seed=0):
    """Write training.gif, how q(z) of a trained model became p(z), into ``out``; returns the file.

    It shows the first N_MOVING held-out images; arguments as of ``plot_run``. Raises InputError
    for a run without snapshots.
    """
    from aae_mx.canvas import matplotlib
    from aae_mx.files import write_aside
    from aae_mx.run import load_data, read_snapshots

    dataset = dataset or load_data(model)
    labels = dataset.test_labels
    snapshots = read_snapshots(model.run, len(labels), model.config.code_dim)
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
    _say_what_is_lacking(model.classes)
    return out / MOVING


if __name__ == "__main__":
    main()
