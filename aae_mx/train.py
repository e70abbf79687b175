"""``python -m aae_mx.train``: train an adversarial autoencoder."""

import dataclasses

import click

from aae_mx.cli import command, config_option
from aae_mx.config import REFERENCE, Config


@command(
    name="train",
    epilog="Example: python -m aae_mx.train --prior swiss_roll --labels --out runs/roll",
)
@click.option(
    "--recipe",
    type=click.Choice(["default", "reference"]),
    default="default",
    show_default=True,
    help="Where the hyper-parameters start: the defaults below, or the original code's ("
    + ", ".join(f"{name} {value}" for name, value in REFERENCE.items())
    + "). Options given beside it win.",
)
@click.option(
    "--out",
    metavar="DIR",
    help="The run's directory; it must be new or empty. [default: runs/PRIOR_FORMULATION]",
)
@click.option("--figures/--no-figures", default=True, show_default=True, help="Draw the figures.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def main(ctx, recipe, out, figures, quiet, **settings):
    """Train an adversarial autoencoder on MNIST, or on images of your own.

    The run's directory gets the settings (config.json), one row per epoch (history.csv), the
    weights and optimizer states (checkpoint.npz), a log and the figures.
    """
    if recipe == "reference":
        given = {
            name: value
            for name, value in settings.items()
            if ctx.get_parameter_source(name) != click.core.ParameterSource.DEFAULT
        }
        settings = {**settings, **REFERENCE, **given}
    config = Config(**settings)

    from aae_mx.plot import plot_run
    from aae_mx.training import fit

    model = fit(config, out, quiet)
    if figures:
        directory = plot_run(model)
        if not quiet:
            click.echo(f"figures: {directory}")


for _field in reversed(dataclasses.fields(Config)):
    main = config_option(_field)(main)

if __name__ == "__main__":
    main()
