"""``python -m aae_mx.plot``: draw the figures of a run."""

from __future__ import annotations

import click

from aae_mx.commands.options import command, option_place, option_run, option_seed
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
@option_place()
@option_seed("Decides the prior samples.")
def main(run, out, animate, seed, **places):
    """Draw the figures of a run: its codes, reconstructions, samples, losses and more.

    Which they are depends on its mode. The files of an earlier call are replaced.
    """
    from aae_mx.model import load, load_data
    from aae_mx.report.figures import animate_run, plot_run

    model = load(run)
    dataset = load_data(model, **places)
    if animate:
        say(f"animation: {animate_run(model, out, dataset, seed)}")
    else:
        say(f"figures: {plot_run(model, out, dataset, seed)}")
