"""``python -m aae_mx.train``: see ``aae_mx.commands.train``."""

from aae_mx.commands.train import main

if __name__ == "__main__":
    main()
