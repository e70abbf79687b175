"""``python -m aae_mx.train``: train an adversarial autoencoder."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Optional, Sequence

import click

from aae_mx.commands.options import ConfigCommand, command, given_settings
from aae_mx.config import PLACES, Config, all_settings
from aae_mx.errors import ConfigError, InputError
from aae_mx.text import printable, say

# The settings that may change when a run goes on.
CHANGEABLE = ("epochs", "ctx", *PLACES)


@command(
    ConfigCommand,
    name="train",
    epilog="Example: python -m aae_mx.train --prior swiss_roll --labels --out runs/roll",
)
@click.option(
    "--config",
    "start",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="Start from the settings that were given for another run, in its config.json; options "
    "win over them.",
)
@click.option(
    "--out",
    metavar="DIR",
    help="The run's directory; it must be new or empty. [default: one under runs/, named after "
    "what is trained]",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with a run that was stopped, or extend it with --epochs. If its data have been "
    "moved, --images, --data-dir or --data names the new place.",
)
@click.option(
    "--skip-damaged",
    is_flag=True,
    help="With --resume: where the last checkpoint is damaged, go on from the one before it.",
)
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Epochs between two checkpoints.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How many of the last checkpoints stay; one takes 46 MB with the defaults, with labels or "
    "for swiss_roll 71 MB. aae_mx.slim leaves a finished run a quarter to a third of one.",
)
@click.option(
    "--snapshots",
    is_flag=True,
    help="Keep the held-out codes of each epoch, for plot --animate. A run that goes on keeps "
    "what it began with.",
)
@click.option("--figures/--no-figures", default=True, show_default=True, help="Draw the figures.")
@click.option(
    "--figures-every",
    "every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Draw q(z) after every N-th epoch as well, into RUN/figures/qz_epoch_0005.png and so on.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def main(
    *,
    start: Optional[Path],
    out: Optional[str],
    resume: Optional[Path],
    skip_damaged: bool,
    checkpoint_every: int,
    keep: int,
    snapshots: bool,
    figures: bool,
    every: Optional[int],
    quiet: bool,
    **settings: Any,
) -> None:
    """Train an adversarial autoencoder on MNIST, or on images of your own.

    The run's directory gets the settings (config.json), one row per epoch (history.csv), the
    weights and optimizer states (checkpoints/), a log and the figures. Ctrl-C and SIGTERM
    save before they stop it; --resume goes on from there as if nothing had happened.
    """
    if resume is None:
        if skip_damaged:
            raise click.UsageError("--skip-damaged: it is for a run that goes on; give --resume.")
        given = given_settings(settings)
        config = Config(**{**(_read_settings(start) if start else {}), **given})
    else:
        if start is not None:
            raise ConfigError("config", start, f"{resume} goes on with settings of its own")
        changes = _changes(resume, out, snapshots, given_settings(settings))

    from aae_mx.report.figures import figures_directory, figures_every, plot_run
    from aae_mx.training import loop as training

    how: dict[str, Any] = {"quiet": quiet, "checkpoint_every": checkpoint_every, "keep": keep}
    if every is not None:
        how["callback"] = figures_every(every)
    if resume is None:
        model = training.fit(config, out, snapshots=snapshots, **how)
    else:
        if figures or every is not None:
            figures_directory(resume)
        if figures and not changes and not skip_damaged and _lacks_figures(resume):
            # It was stopped or killed while they were drawn. Where a checkpoint is skipped, there
            # is something to train.
            from aae_mx.model import load

            model = load(resume, skip_damaged=skip_damaged)
        else:
            model = training.resume(resume, skip_damaged=skip_damaged, **changes, **how)
    if figures and model.mode.exchange.first:
        try:
            directory = plot_run(model, quiet=quiet)
        except Exception as error:  # noqa: B902 - the run is whole, whatever it is
            again = f"python -m aae_mx.plot {shlex.quote(str(model.run))}"
            why = printable(str(error))
            say(f"Warning: {why}; the run is whole, draw again with: {again}", err=True)
        else:
            if not quiet:
                say(f"figures: {directory}")


def with_run(arguments: Sequence[str]) -> tuple[list[str], Path]:
    """Arguments of this command that name the run's directory, and that directory.

    For who starts several processes of it. Raises click.UsageError and ConfigError as they would.
    """
    with main.make_context("python -m aae_mx.train", list(arguments)) as context:
        values = context.params
        if values["resume"] is not None:
            return list(arguments), values["resume"]
        given = given_settings({n: v for n, v in values.items() if n in all_settings()})
        start = values["start"]
        config = Config(**{**(_read_settings(start) if start else {}), **given})
        if values["out"] is not None:
            return list(arguments), Path(values["out"])
    from aae_mx.runs.directory import free_path

    run = free_path(config.name)
    return [*arguments, "--out", str(run)], run


def _lacks_figures(run):
    """Whether a run is finished, but has not all of its figures."""
    from aae_mx.model import read_config
    from aae_mx.report.figures import has_all_figures
    from aae_mx.runs.checkpoint import finished_epochs

    return finished_epochs(run) >= read_config(run).epochs and not has_all_figures(run)


def _read_settings(file):
    """The settings in a file in the form of config.json, {name: value}: those that were given."""
    from aae_mx.runs.directory import MAX_CONFIG_BYTES

    try:
        with open(file, encoding="utf-8") as stream:
            described = json.loads(stream.read(MAX_CONFIG_BYTES))
        settings = described.get("config", described)
        return {name: settings[name] for name in described.get("given", settings)}
    except (OSError, ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{file}: no settings can be read from it ({error})") from error


def _changes(run, out, snapshots, given):
    """What the options given beside --resume change; ConfigError for what cannot change."""
    from aae_mx.model import read_config
    from aae_mx.runs.snapshots import SNAPSHOTS

    if out is not None:
        raise ConfigError("out", out, f"a run that goes on stays where it is, in {run}")
    there = read_config(run).to_dict()
    if snapshots and not (run / SNAPSHOTS).is_dir():
        raise click.UsageError(
            f"--snapshots: {run} was begun without, so those of its first epochs would be missing."
        )
    changes = {}
    for name, value in given.items():
        if name in there and value == there[name]:
            continue
        if name not in CHANGEABLE:
            was = "without" if value is True else f"with {there.get(name, 'no such setting')}"
            raise ConfigError(
                name,
                value,
                f"{run} was trained {was}, and only --epochs, --ctx and the place of its data "
                "(--images, --data-dir or --data) can change",
            )
        changes[name] = value
    return changes
