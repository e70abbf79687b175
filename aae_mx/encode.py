"""``python -m aae_mx.encode``: see ``aae_mx.commands.encode``."""

from aae_mx.commands.encode import main

if __name__ == "__main__":
    main()
