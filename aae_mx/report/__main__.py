"""``python -m aae_mx.report``: see ``aae_mx.commands.report``."""

from aae_mx.commands.report import main

main()
