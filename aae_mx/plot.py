"""``python -m aae_mx.plot``: draw the figures of a run."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np

from aae_mx import plotting
from aae_mx.cli import command, option_place, option_run, option_seed

# As many training images as the post's q(z) shows, and as many prior samples.
N_POINTS = 12_800
N_IMAGES = 100
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
        click.echo(f"animation: {animate_run(model, out, dataset, seed)}")
    else:
        click.echo(f"figures: {plot_run(model, out, dataset, seed)}")


def plot_run(model, out=None, dataset=None, seed=0):
    """Write the seven figures of a trained model into ``out``; returns that directory.

    ``out`` is RUN/figures by default, ``dataset`` the one that the run was trained on. q(z)
    shows the first 12,800 training images, as the post does; its points in the
    semi-supervised case are coloured by the true labels, known to the model or not.
    """
    from aae_mx.data import to_unit
    from aae_mx.run import load_data, read_history

    history = read_history(model.run)
    dataset = dataset or load_data(model)
    out = _made(model, out)
    codes = model.encode(dataset.train_images[:N_POINTS])
    prior, pieces = model.sample_prior(N_POINTS, seed=seed)
    codes, fitted = plotting.project(codes)
    prior, _ = plotting.project(prior, fitted)
    limit = plotting.shared_limit(codes, prior)
    seen = "" if fitted is None else " along the first two principal components"
    if model.config.formulation == "unsupervised":
        # No piece of the prior stands for a label.
        pieces = None
    with saved(out / "pz.png") as axes:
        plotting.scatter_prior(prior, pieces, model.classes, f"p(z){seen}", limit, axes)
    with saved(out / "qz.png") as axes:
        labels = dataset.train_labels[:N_POINTS] if model.classes else None
        plotting.scatter_codes(codes, labels, model.classes, f"q(z){seen}", limit, axes)
    with saved(out / "output.png") as axes:
        plane = model.decode(plotting.plane_codes(fitted))
        plotting.show_plane(plane, f"decoded plane{seen}", axes)
        if fitted is not None:
            axes.set(xlabel="first component", ylabel="second component")
    originals = to_unit(dataset.test_images[:N_IMAGES]).reshape(-1, *model.image_shape)
    columns = plotting.sheet_columns(model.image_shape, 20) // 2 * 2
    shown = originals[: columns * columns // 2]
    height = 0.4 + plotting.sheet_height(2 * len(shown), columns)
    with saved(out / "reconstructions.png", height=height) as axes:
        plotting.show_reconstructions(shown, model.reconstruct(shown), columns, ax=axes)
    with saved(out / "samples.png") as axes:
        columns = plotting.sheet_columns(model.image_shape, 10)
        samples, columns = prior_sheet(model, columns * columns, columns, seed=seed)
        plotting.show_images(samples, columns, "prior samples, decoded", ax=axes)
    columns = plotting.sheet_columns(model.image_shape, 10)
    pairs = min(columns, len(originals) // 2)
    first, last = originals[:pairs], originals[pairs : 2 * pairs]
    height = 0.4 + plotting.sheet_height(columns * pairs, columns)
    with saved(out / "interpolations.png", height=height) as axes:
        between = interpolations(model, first, last, columns - 2)
        plotting.show_interpolations(first, between, last, ax=axes)
    with saved(out / "losses.png", width=15, height=4, columns=3) as axes:
        plotting.loss_curves(history, axes)
    return out


def figures_directory(run):
    """RUN/figures. Raises InputError if it cannot be written, or is a link out of the run."""
    from aae_mx.files import check_directory, inside

    path = inside(run, run / "figures")
    check_directory(path)
    return path


def _made(model, out):
    """The directory ``out``, by default RUN/figures, made if need be."""
    from aae_mx.files import make_directory

    out = figures_directory(model.run) if out is None else Path(out)
    make_directory(out)
    return out


def interpolations(model, first, last, steps):
    """Decoded codes on the lines between those of images: (N, steps, *image_shape) in 0–1.

    ``first``, ``last``: as many images, where the lines begin and end.
    """
    start, end = (model.encode(images)[:, None] for images in (first, last))
    way = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    codes = (1 - way) * start + way * end
    return model.decode(codes.reshape(-1, codes.shape[-1])).reshape(-1, steps, *model.image_shape)


def prior_sheet(model, n, columns, seed):
    """``n`` decoded prior samples for a sheet of about ``columns``, and its columns.

    If labels mean something, every column holds the samples of one label.
    """
    if model.config.formulation == "unsupervised":
        return model.sample(n, seed=seed), columns
    n_labels = len(model.classes)
    columns = n_labels * max(1, columns // n_labels)
    labels = np.arange(n) % columns % n_labels
    return model.sample(n, labels=labels, seed=seed), columns


@contextmanager
def saved(path, width=plotting.FIGURE_INCHES, height=plotting.FIGURE_INCHES, rows=1, columns=1):
    """Axes (an array of them if there are several) of a figure that is then saved.

    Written aside and renamed. Without pyplot, so that no display is needed.
    """
    from matplotlib.figure import Figure

    from aae_mx.files import write_aside

    figure = Figure(figsize=(width, height), layout="constrained")
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
    from matplotlib.animation import PillowWriter
    from matplotlib.figure import Figure

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
    out = _made(model, out)
    figure = Figure(figsize=(MOVING_INCHES, MOVING_INCHES), layout="constrained")
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
    # The writer takes the name of a file only.
    with tempfile.TemporaryDirectory() as directory:
        drawn = Path(directory, MOVING)
        animation.save(drawn, PillowWriter(fps=FRAMES_PER_SECOND), dpi=MOVING_DPI)
        content = drawn.read_bytes()
    write_aside(out / MOVING, lambda file: file.write(content))
    return out / MOVING


if __name__ == "__main__":
    main()
