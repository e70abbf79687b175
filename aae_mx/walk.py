"""Which pictures a folder holds, what its sub-folders say of them, and what is left out."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from aae_mx.errors import InputError
from aae_mx.text import printable

# Suffixes of pictures, and what Pillow calls their formats.
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
# What systems leave in folders, besides names that start with a dot.
HIDDEN = {
    *("@eadir", "__macosx", "lost+found", "$recycle.bin", "system volume information"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini"),
}
# Sub-folders that split a folder: the first that is there is trained on, and held out.
SPLIT = (("train", "training"), ("test", "testing", "val", "valid", "validation"))
# Why something is left out, each said after a number of things.
IS_HIDDEN, OTHER, NO_FILE = "hidden", "not named as a picture", "not a file"
AGAIN, BROKEN, EMPTY = "linked twice or in a circle", "linked to nothing", "without pictures"
BESIDE = "beside the split"


class Pictures(NamedTuple):
    """The pictures of a folder.

    ``files``: their paths in it; if a sub-folder such as test/ sets some apart to be held out,
    these are the last ``held_out``. ``names``: the class of each, a printable text; None in a flat
    folder. ``left_out``: {why: paths of files, folders and links}.
    """

    files: List[str]
    names: Optional[List[str]]
    held_out: int
    left_out: Dict[str, List[str]]


def find_pictures(folder):
    """The Pictures of a folder: flat, or with one sub-folder per class, at any depth below it.

    A folder of nothing but one sub-folder counts as that one. Of the folders train/ and test/ (or
    val/), side by side at the top, the second is held out; each is flat or has the classes. Raises
    InputError for a folder without pictures or with both pictures and folders of pictures, one
    that cannot be read, within it, too, and a split of which the held-out part has other classes.
    """
    folder = Path(folder)
    files, left_out = _walk(folder)
    if not files:
        known = ", ".join(suffixes())
        raise InputError(f"{folder}: there are no {known} files in it{what_else(left_out)}")
    parts = _split(files)
    if parts is None:
        files, names = _named(folder, files)
        return Pictures(files, _printable(names), 0, left_out)
    beside = [file for file in files if file.split("/")[0] not in parts]
    if beside:
        left_out[BESIDE] = sorted(beside)
    trained_on, held_out = (
        _named(folder, [file for file in files if file.split("/")[0] == part], 1) for part in parts
    )
    names = [set(names or ()) for _, names in (trained_on, held_out)]
    if max(map(len, names)) < 2:
        # One class says nothing.
        names = None
    elif names[0] >= names[1] != set():
        names = trained_on[1] + held_out[1]
    else:
        first, second = parts
        only = printable(min(names[1] - names[0], default="no classes"))
        raise InputError(
            f"{folder}: the classes of {second} are not those of {first} ({second} has {only}); "
            f"make them the same, or give {folder / first} alone, of which a part is held out"
        )
    files = trained_on[0] + held_out[0]
    return Pictures(files, _printable(names), len(held_out[0]), left_out)


def what_else(left_out):
    """What was left out, and why, as the end of a line; nothing if nothing was."""
    shown = (
        f"{len(paths):,} {why} ({', '.join([*paths[:2], '...'][: len(paths)])})"
        for why, paths in left_out.items()
        if paths
    )
    what = ", ".join(shown)
    return what and f"; left out: {printable(what)}"


def suffixes():
    """The suffixes of pictures that this Pillow reads."""
    from PIL import features

    return [end for end, kind in FORMATS.items() if kind != "WEBP" or features.check("webp")]


def _walk(folder):
    """All pictures in a folder, in no order, and what is left out.

    Links are followed, but every directory and every linked file is taken once, and no link that
    leads to a directory in which it lies itself.
    """
    known = tuple(suffixes())
    top = os.path.realpath(folder)
    files, left_out = [], {why: [] for why in (IS_HIDDEN, OTHER, NO_FILE, AGAIN, BROKEN, EMPTY)}
    # Directories by their paths in the folder; of what was met, the real paths.
    directories, links, all_directories, met = deque([""]), deque(), [], set()
    while directories or links:
        if directories:
            place = directories.popleft()
        else:
            # Last, so that what lies in the folder is not taken by a link's name.
            place = links.popleft()
            target = os.path.realpath(folder / place)
            own = os.path.realpath(folder / os.path.dirname(place))
            if not os.path.exists(target):
                left_out[BROKEN].append(place)
                continue
            if target in met or target in (os.path.commonpath([target, x]) for x in (own, top)):
                left_out[AGAIN].append(place)
                continue
            if not os.path.isdir(target):
                met.add(target)
                named = place.lower().endswith(known)
                (files if named else left_out[OTHER]).append(place)
                continue
        real = os.path.realpath(folder / place)
        if real in met:
            left_out[AGAIN].append(place)
            continue
        met.add(real)
        all_directories.append(place)
        for entry in _entries(folder, place):
            path = f"{place}/{entry.name}" if place else entry.name
            if entry.name.startswith(".") or entry.name.lower() in HIDDEN:
                left_out[IS_HIDDEN].append(path)
            elif entry.is_symlink():
                links.append(path)
            elif entry.is_dir():
                directories.append(path)
            elif not entry.name.lower().endswith(known):
                left_out[OTHER].append(path)
            elif entry.is_file():
                met.add(f"{real}/{entry.name}")
                files.append(path)
            else:
                left_out[NO_FILE].append(path)
    holding = {os.path.dirname(file) for file in files}
    holding |= {"", *(str(above) for place in holding for above in Path(place).parents)}
    for path in all_directories:
        if path not in holding and os.path.dirname(path) in holding:
            left_out[EMPTY].append(path)
    return files, {why: sorted(paths) for why, paths in left_out.items() if paths}


def _entries(folder, place):
    """What os.scandir finds in a directory, by name."""
    try:
        with os.scandir(folder / place) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except NotADirectoryError as error:
        raise InputError(
            f"{folder}: it is a file, not a folder; give a folder (an archive unpacked)"
        ) from error
    except OSError as error:
        raise InputError(
            f"{folder / place}: the folder cannot be read ({error.strerror})"
            + "; make it readable, or move it away" * bool(place)
        ) from error


def _named(folder, files, depth=0):
    """``files`` in order, and the class of each; None for those of a flat folder.

    ``depth``: how many folders above them are no classes.
    """
    start = depth
    while True:
        flat = [file for file in files if file.count("/") == depth]
        below = {file.split("/")[depth] for file in files if file.count("/") > depth}
        if flat and below and depth == start:
            raise InputError(
                f"{folder.joinpath(*files[0].split('/')[:depth])}: it holds images and sub-folders "
                "with images; expected either images, or one sub-folder per class"
            )
        if flat or len(below) > 1:
            break
        depth += 1
    if flat and depth == start:
        return sorted(files), None
    # Where the one sub-folder holds pictures itself, all is of its one class.
    at = depth - bool(flat)
    files = sorted(files, key=lambda file: (file.split("/")[at], file))
    return files, [file.split("/")[at] for file in files]


def _split(files):
    """The names of the two sub-folders that split the files, or None."""
    there = {file.split("/")[0].lower(): file.split("/")[0] for file in files if "/" in file}
    if len(there) < 2 or not all("/" in file for file in files):
        return None
    parts = [next((there[name] for name in names if name in there), None) for names in SPLIT]
    return None if None in parts else parts


def _printable(names):
    """The names of classes as texts that can be shown, different ones for different names."""
    if names is None:
        return None
    shown = {}
    for name in sorted(set(names), key=lambda name: (printable(name) != name, name)):
        as_text = printable(name)
        while as_text in shown.values():
            as_text += "'"
        shown[name] = as_text
    return [shown[name] for name in names]
