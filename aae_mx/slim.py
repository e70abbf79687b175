"""``python -m aae_mx.slim``: see ``aae_mx.commands.slim``."""

from aae_mx.commands.slim import main

if __name__ == "__main__":
    main()
