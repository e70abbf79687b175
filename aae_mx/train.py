"""``python -m aae_mx.train``: train an adversarial autoencoder."""

import click

from aae_mx.cli import command, config_options
from aae_mx.config import Config


@command(
    name="train",
    epilog="Example: python -m aae_mx.train --prior swiss_roll --labels --out runs/roll",
)
@config_options
@click.option(
    "--out",
    metavar="DIR",
    help="The run's directory; it must be new or empty. [default: runs/PRIOR_FORMULATION]",
)
@click.option("--figures/--no-figures", default=True, show_default=True, help="Draw the figures.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def main(out, figures, quiet, **settings):
    """Train an adversarial autoencoder on MNIST, or on images of your own.

    The run's directory gets the settings (config.json), one row per epoch (history.csv), the
    weights and optimizer states (checkpoint.npz), a log and the figures.
    """
    config = Config(**settings)

    from aae_mx.plot import plot_run
    from aae_mx.training import fit

    model = fit(config, out, quiet)
    if figures:
        directory = plot_run(model)
        if not quiet:
            click.echo(f"figures: {directory}")


if __name__ == "__main__":
    main()
