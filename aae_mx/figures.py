"""``python -m aae_mx.figures``: see ``aae_mx.commands.figures``."""

from aae_mx.commands.figures import main

if __name__ == "__main__":
    main()
