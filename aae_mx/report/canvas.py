"""The only place that imports matplotlib: no display, and no setting for one, is needed.

matplotlib refuses to be imported where MPLBACKEND names a display that is not installed, as in
the shell of a notebook; figures that are saved need none.
"""

from __future__ import annotations

import functools
import os
import sys
import unicodedata
import warnings
from contextlib import suppress
from typing import Any, Sequence

from aae_mx.errors import InputError
from aae_mx.text import printable

# Stands for a character that no font has.
BOX = "□"


def _load_matplotlib():
    backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    # The last for Python 3.9 uses old names of pyparsing, when it is imported and later.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"matplotlib\._")
    try:
        import matplotlib.animation
        import matplotlib.colors
        import matplotlib.figure
        import matplotlib.font_manager
        import matplotlib.image
        import matplotlib.patheffects
        import matplotlib.ticker
    except Exception as error:  # noqa: B902 - what its settings raise depends on what is wrong
        raise InputError(
            f"matplotlib cannot be imported ({type(error).__name__}: {printable(str(error))}); "
            "look for a damaged file matplotlibrc"
        ) from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        # For pyplot, which calls in a notebook use.
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
    return matplotlib


matplotlib = _load_matplotlib()


def pyplot() -> Any:
    """The module of that name, which chooses a display."""
    import matplotlib.pyplot

    return matplotlib.pyplot


def drawable(names: Sequence[str]) -> list[str]:
    """Names as texts of a figure: one line each, no markup, only characters that fonts have."""
    _, lacking = fonts(names)
    texts = []
    for name in names:
        for character in lacking:
            # What has no shape of its own, as what joins two characters, can go.
            shapeless = unicodedata.category(character) in ("Cf", "Mn")
            name = name.replace(character, "" if shapeless else BOX)
        # Between dollars would be mathematics.
        texts.append(printable(name).replace("$", r"\$"))
    return texts


def fonts(names: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The font families to draw ``names`` with, and the characters that none of them has."""
    families = tuple(matplotlib.rcParams["font.family"])
    beyond = frozenset(c for c in printable("".join(names)) if ord(c) > 126)
    return _fonts(families, beyond) if beyond else (families, frozenset())


@functools.lru_cache(maxsize=None)
def _fonts(families, characters):
    manager = matplotlib.font_manager
    default = manager.findfont(manager.FontProperties(family=families))
    lacking = characters - _glyphs(default)
    if not lacking or matplotlib.__version_info__ < (3, 6):
        # The latter draws a text with one font.
        return families, lacking
    found = {}
    for font in manager.fontManager.ttflist:
        # Last Resort has a box for every character.
        if (font.style, font.weight) == ("normal", 400) and "Last Resort" not in font.name:
            found.setdefault(font.name, lacking & _glyphs(font.fname))
    while lacking and found:
        best = max(sorted(found), key=lambda name: len(found[name] & lacking))
        if not found[best] & lacking:
            break
        families, lacking = (*families, best), lacking - found[best]
    return families, lacking


def _glyphs(file):
    """The characters that a font has."""
    try:
        return {chr(code) for code in matplotlib.font_manager.get_font(file).get_charmap()}
    except (ValueError, RuntimeError, OSError):
        # A damaged file, or one of a kind that matplotlib does not draw.
        return set()
