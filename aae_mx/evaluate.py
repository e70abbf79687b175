"""``python -m aae_mx.evaluate``: see ``aae_mx.commands.evaluate``."""

from aae_mx.commands.evaluate import main

if __name__ == "__main__":
    main()
