"""``python -m aae_mx.paper``: every experiment of the paper, and its numbers, from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from aae_mx.commands.options import command, option_jobs


@command(name="paper", epilog="Example: python -m aae_mx.paper --only 5,6 --jobs 2")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="paper",
    show_default=True,
    metavar="DIR",
    help="Where the table and the figures go; the runs behind them go to DIR/runs.",
)
@click.option("--only", metavar="SECTION,...", help="Only these sections, as 5,6. [default: all]")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="Train every experiment so many times, with the seeds 0, 1, ... [default: 3; with "
    "--quick 1]",
)
@click.option(
    "--quick", is_flag=True, help="With 2,000 images and two epochs: minutes, no numbers."
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Samples of section 3; the paper also has 10,000,000.",
)
@option_jobs()
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def main(
    out: Path,
    only: Optional[str],
    seeds: Optional[int],
    quick: bool,
    samples: int,
    jobs: Optional[int],
    quiet: bool,
) -> None:
    """Train the paper's experiments and write their numbers beside the paper's, with figures.

    results.md and results.csv hold the numbers. Trains what DIR/runs does not hold yet, and keeps
    what is there: after an interruption, call it again.
    """
    from aae_mx.report.paper import SECTIONS, reproduce

    some = SECTIONS if only is None else tuple(part.strip() for part in only.split(","))
    seeds = seeds or (1 if quick else 3)
    reproduce(out, some, seeds, quick, samples, jobs, quiet)
