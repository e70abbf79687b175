"""``python -m aae_mx.explore``: see ``aae_mx.commands.explore``."""

from aae_mx.commands.explore import main

main()
