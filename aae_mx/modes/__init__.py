"""Modes: the kinds of adversarial autoencoder, one file each, on the contract of mode.py."""

from aae_mx.modes.mode import MODES, Mode, Moves, find

# Each joins MODES when it is imported.
from aae_mx.modes import (  # noqa: E402,F401 isort:skip
    label_prior,
    style,
    classification,
    clustering,
    reduction,
)

__all__ = ["MODES", "Mode", "Moves", "find"]
