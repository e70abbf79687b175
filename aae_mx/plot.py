"""``python -m aae_mx.plot``: see ``aae_mx.commands.plot``."""

from aae_mx.commands.plot import main

if __name__ == "__main__":
    main()
