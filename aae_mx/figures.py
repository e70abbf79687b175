"""``python -m aae_mx.figures``: every figure of the post, from nothing."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import click

from aae_mx.cli import command, option_seed
from aae_mx.config import Config
from aae_mx.errors import InputError
from aae_mx.plot import plot_run, saved

# (prior, labels) of the post's seven configurations, then the semi-supervised ones that the
# post announces but does not show; "some" is the option --labelled.
CONFIGURATIONS = (
    ("gaussian", "none"),
    ("gaussian_mixture", "none"),
    ("swiss_roll", "none"),
    ("uniform", "none"),
    ("gaussian_mixture", "all"),
    ("swiss_roll", "all"),
    ("uniform", "all"),
    ("gaussian_mixture", "some"),
    ("swiss_roll", "some"),
)
# The one configuration whose decoded plane the post shows.
PLANE = ("gaussian_mixture", "all")
OVERVIEW = "overview.png"


@command(name="figures", epilog="Example: python -m aae_mx.figures --out figures")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="figures",
    show_default=True,
    metavar="DIR",
    help="Where the figures go; the runs behind them go to DIR/runs.",
)
@click.option(
    "--recipe",
    type=click.Choice(["default", "reference"]),
    default="default",
    show_default=True,
    help="Hyper-parameters: the defaults, or the original code's.",
)
@click.option(
    "--labelled",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Labelled images of the semi-supervised trainings.",
)
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Of every training. [default: the recipe's]"
)
@click.option(
    "--limit", type=click.IntRange(min=1), help="Use only so many images, to try things out."
)
@option_seed("As of train.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def main(out, recipe, labelled, epochs, limit, seed, quiet):
    """Write the post's fifteen figures, the semi-supervised ones and an overview sheet.

    Trains the configurations that DIR/runs does not hold yet, one after another, and keeps
    what is there: after an interruption, call it again.
    """
    common = {"recipe": recipe, "epochs": epochs, "limit": limit, "seed": seed}
    configs = [
        Config(prior=prior, labels=labelled if labels == "some" else labels, **common)
        for prior, labels in CONFIGURATIONS
    ]
    draw_figures(configs, out, quiet)


def draw_figures(configs, out, quiet=False):
    """Train what is missing of ``configs`` under ``out``/runs and draw their figures in ``out``.

    Raises InputError if a run there was trained with other settings.
    """
    from aae_mx.run import load, write_aside
    from aae_mx.training import fit

    say = (lambda text: None) if quiet else click.echo
    missing = [config for config in configs if not _finished(out / "runs" / config.name, config)]
    say(f"{len(configs) - len(missing)} of {len(configs)} trainings are there already.")
    if missing:
        minutes = _estimate(missing) / 60
        say(f"Training the other {len(missing)} will take about {minutes:.0f} minutes.")
    for config in configs:
        run = out / "runs" / config.name
        if config in missing:
            if run.exists():
                say(f"{run}: unfinished; trained anew")
                _remove_unfinished(run)
            fit(config, run, quiet)
        files = {out / f"{_title(config)}_{figure}.png": figure for figure in _shown(config)}
        if config in missing or not all(file.exists() for file in files):
            drawn = plot_run(load(run))
            for file, figure in files.items():
                image = (drawn / f"{figure}.png").read_bytes()
                write_aside(file, lambda aside, image=image: aside.write(image))
    _overview(configs, out)
    say(f"figures: {out}")


def _title(config):
    return f"{config.prior}_{config.formulation}"


def _shown(config):
    """The figures of a configuration that the post shows."""
    return ("pz", "qz", "output") if (config.prior, config.labels) == PLANE else ("pz", "qz")


def _finished(run, config):
    """Whether ``run`` holds the finished training of ``config``."""
    from aae_mx.run import HISTORY, read_history, read_model

    if not (run / HISTORY).exists():
        return False
    there = read_model(run).config
    for field in dataclasses.fields(Config):
        has, wanted = getattr(there, field.name), getattr(config, field.name)
        if has != wanted:
            raise InputError(
                f"{run}: it was trained with {field.name}={has!r}, not {wanted!r}; choose another "
                "--out, or remove it"
            )
    return read_history(run)["epoch"][-1] == config.epochs


def _remove_unfinished(run):
    """Remove what an interrupted training left; refused while it is still going on."""
    from aae_mx.run import lock

    lock(run).close()
    shutil.rmtree(run)


def _estimate(configs):
    """Seconds that the trainings will take, by a few steps of the first."""
    from aae_mx.data import load_dataset
    from aae_mx.training import seconds_per_image, steps_per_epoch

    dataset = load_dataset(configs[0])
    images = sum(
        steps_per_epoch(config, len(dataset.train_images)) * config.batch_size * config.epochs
        for config in configs
    )
    return seconds_per_image(configs[0], dataset) * images


def _overview(configs, out):
    """One sheet of every configuration's q(z) beside its p(z), three pairs to a row."""
    from matplotlib.image import imread

    rows = -(-len(configs) // 3)
    with saved(out / OVERVIEW, width=15, height=2.7 * rows, rows=rows, columns=6) as axes:
        for ax in axes.flat:
            ax.set_axis_off()
        for pair, config in zip(axes.reshape(-1, 2), configs):
            for ax, figure in zip(pair, ("qz", "pz")):
                ax.imshow(imread(out / f"{_title(config)}_{figure}.png"))
            pair[0].set_title(_title(config).replace("_", " "), fontsize="medium", loc="left")


if __name__ == "__main__":
    main()
