"""``python -m aae_mx.paper``: see ``aae_mx.commands.paper``."""

from aae_mx.commands.paper import main

if __name__ == "__main__":
    main()
