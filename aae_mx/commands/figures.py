"""``python -m aae_mx.figures``: every figure of the post, and the numbers, from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from aae_mx.commands.options import Numbers, command, option_jobs, option_seed
from aae_mx.errors import ConfigError


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
    type=Numbers(),
    default="1000",
    show_default=True,
    help="Labelled images of the semi-supervised trainings; of several, as 100,1000, each.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Train every configuration so many times, from --seed on, for means in the table.",
)
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Of every training. [default: the recipe's]"
)
@click.option(
    "--limit", type=click.IntRange(min=1), help="Use only so many images, to try things out."
)
@option_jobs()
@option_seed("As of train.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def main(
    out: Path,
    recipe: str,
    labelled: tuple[int, ...],
    seeds: int,
    epochs: Optional[int],
    limit: Optional[int],
    jobs: Optional[int],
    seed: int,
    quiet: bool,
) -> None:
    """Write the post's fifteen figures, the semi-supervised ones, an overview and the numbers.

    results.md and results.csv hold what evaluate measures, beside the original code's. Trains
    the configurations that DIR/runs does not hold yet, several at once, and keeps what is there:
    after an interruption, call it again.
    """
    if min(labelled) < 1:
        raise ConfigError("labelled", labelled, "expected at least 1 labelled image")
    from aae_mx.report.post import configurations, draw_figures

    configs = configurations(labelled, recipe=recipe, epochs=epochs, limit=limit, seed=seed)
    try:
        draw_figures(configs, out, seeds, quiet, jobs)
    except ConfigError as error:
        if error.field != "labels":
            raise
        # The option of this command that became the setting.
        raise ConfigError("labelled", error.value, error.message) from error
