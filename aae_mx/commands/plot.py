"""``python -m aae_mx.plot``: draw the figures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import click

from aae_mx.commands.options import command, option_place, option_run, option_seed
from aae_mx.report.figures import DPI, DPI_WITHIN, FORMATS, MAX_DPI, MAX_POINTS, MIN_DPI, Looks
from aae_mx.report.plotting import SAFE
from aae_mx.text import say


@command(name="plot", epilog="Example: python -m aae_mx.plot runs/swiss_roll_supervised")
@option_run()
@click.option("--out", metavar="DIR", help="Where to write them. [default: RUN/figures]")
@click.option(
    "--animate",
    is_flag=True,
    help="Write training.gif instead: q(z) of the held-out images, epoch by epoch. For runs of "
    "train --snapshots.",
)
@click.option(
    "--format",
    type=click.Choice(list(FORMATS)),
    default=Looks.format,
    show_default=True,
    help="Of the files. Images, and very many points, are pixels within PDF and SVG.",
)
@click.option(
    "--dpi",
    type=click.IntRange(MIN_DPI, MAX_DPI),
    metavar="N",
    help=f"Pixels per inch. [default: {DPI}; within PDF and SVG {DPI_WITHIN}]",
)
@click.option(
    "--colours",
    metavar="NAME",
    help="Of classes and curves: any colour map of matplotlib, as viridis or tab10, or "
    f"'{SAFE}', which colour-blind readers can tell apart (Okabe's and Ito's). [default: rainbow "
    "for classes, matplotlib's own for curves]",
)
@click.option(
    "--legend/--no-legend", default=Looks.legend, show_default=True, help="Name the classes."
)
@click.option(
    "--points",
    type=click.IntRange(1, MAX_POINTS),
    default=Looks.points,
    show_default=True,
    metavar="N",
    help="Points of p(z) and q(z), at most.",
)
@option_place()
@option_seed("Decides the prior samples.")
def main(
    run: Path,
    out: Optional[str],
    animate: bool,
    images: Optional[str],
    data_dir: Optional[str],
    data: Optional[str],
    seed: int,
    **looks: Any,
) -> None:
    """Draw the figures of a run: its codes, reconstructions, samples, losses and more.

    Which they are depends on its mode. The files of an earlier call with the same format are
    replaced.
    """
    if animate:
        of_files = {name: looks.pop(name) for name in ("format", "dpi", "points")}
        for name, value in of_files.items():
            if value != getattr(Looks, name):
                raise click.UsageError(f"--{name}: it is for figures; leave out --animate.")
    # Before anything is read.
    Looks(**looks)

    from aae_mx.model import load, load_data
    from aae_mx.report.figures import animate_run, plot_run

    model = load(run)
    dataset = load_data(model, images=images, data_dir=data_dir, data=data)
    if animate:
        say(f"animation: {animate_run(model, out, dataset, seed, **looks)}")
    else:
        say(f"figures: {plot_run(model, out, dataset, seed, **looks)}")
