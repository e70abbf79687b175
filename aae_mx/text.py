"""Texts for people: names that come from data, and printing that never fails on a character."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from contextlib import suppress
from typing import TextIO

from aae_mx.errors import InputError

# What a terminal that lacks the characters of this package's own texts gets for them.
STAND_INS = {
    **{"–": "-", "−": "-", "×": "x", "±": "+-", "√": "sqrt", "≥": ">=", "≤": "<=", "…": "..."},
    **{"é": "e", "’": "'", "²": "^2"},
}
LACKING = "aae_mx.lacking"


def _stand_ins(error):
    lacking = error.object[error.start : error.end]
    return "".join(STAND_INS.get(character, "?") for character in lacking), error.end


codecs.register_error(LACKING, _stand_ins)


def printable(text: str) -> str:
    """``text`` in one line that can be shown: a line's end becomes \\n, what is no UTF-8 \\xe9."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character):
    if "\udc80" <= character <= "\udcff":
        # How Python stands for such a byte in a file's name.
        return f"\\x{ord(character) - 0xDC00:x}"
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return character.encode("unicode_escape").decode()
    return character


def shortened(text: str, length: int) -> str:
    """``text``, or as much of it as, with an ellipsis, is ``length`` characters long."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def say(text: str, err: bool = False) -> None:
    """Print ``text`` on stdout, or on stderr, whatever characters they take.

    When nobody reads any more (``| head -1``), the text is dropped and the work goes on. Raises
    InputError if it cannot be written for another reason, as a full disk.
    """
    stream = sys.stderr if err else sys.stdout
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, LACKING).decode(encoding), file=stream, flush=True)
    except BrokenPipeError:
        to_nowhere(stream)
    except OSError as error:
        to_nowhere(stream)
        raise InputError(f"the output cannot be written ({error.strerror or error})") from error


def open_streams() -> None:
    """Give the process the standard streams that it was started without, leading to nowhere.

    Else the next file that is opened would have their numbers, and get what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free.
            os.open(os.devnull, os.O_RDWR)


def to_nowhere(stream: TextIO) -> None:
    """Let a stream that cannot be written take the rest without an error, at the end also."""
    with suppress(OSError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
