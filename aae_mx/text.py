"""Texts for people: names that come from files."""

import unicodedata


def printable(text):
    """``text`` in one line that can be shown: a line's end becomes \\n, what is no UTF-8 \\xe9."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character):
    if "\udc80" <= character <= "\udcff":
        # How Python stands for such a byte in a file's name.
        return f"\\x{ord(character) - 0xDC00:x}"
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return character.encode("unicode_escape").decode()
    return character
