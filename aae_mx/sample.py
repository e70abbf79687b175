"""``python -m aae_mx.sample``: see ``aae_mx.commands.sample``."""

from aae_mx.commands.sample import main

if __name__ == "__main__":
    main()
