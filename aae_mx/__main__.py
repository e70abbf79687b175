"""``aae-mx``, or ``python -m aae_mx``: every command under one name."""

import click

from aae_mx import (
    __version__,
    encode,
    evaluate,
    explore,
    export,
    figures,
    plot,
    sample,
    slim,
    train,
)
from aae_mx.cli import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aae-mx")
def main():
    """Adversarial Autoencoders in MXNet Gluon."""


for _module in (train, evaluate, figures, encode, sample, plot, explore, export, slim):
    main.add_command(_module.main)

if __name__ == "__main__":
    main()
