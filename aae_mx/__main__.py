"""``aae-mx``, or ``python -m aae_mx``: every command under one name."""

from __future__ import annotations

from importlib import import_module

import click

from aae_mx import __version__
from aae_mx.commands.options import Group

COMMANDS = (
    *(
        "train",
        "launch",
        "evaluate",
        "figures",
        "paper",
        "encode",
        "sample",
        "plot",
        "report",
        "explore",
        "export",
        "slim",
    ),
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aae-mx")
def main() -> None:
    """Adversarial Autoencoders in MXNet Gluon."""


for _name in COMMANDS:
    main.add_command(import_module(f"aae_mx.commands.{_name}").main)

if __name__ == "__main__":
    main()
