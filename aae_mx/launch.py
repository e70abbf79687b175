"""``python -m aae_mx.launch``: see ``aae_mx.commands.launch``."""

from aae_mx.commands.launch import main

if __name__ == "__main__":
    main()
