"""Which pictures a folder holds, what its sub-folders say of them, and what is left out."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

from aae_mx.errors import InputError
from aae_mx.hints import PathLike
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

    ``files``: their paths in it; if sub-folders such as train/ and test/ split it, the last
    ``held_out`` are those of the second, and ``parts`` the paths of the two. ``names``: the class
    of each, a printable text; None in a flat folder. ``left_out``: {why: paths of files, folders
    and links}.
    """

    files: List[str]
    names: Optional[List[str]]
    left_out: Dict[str, List[str]]
    held_out: int = 0
    parts: Tuple[str, ...] = ()


def find_pictures(folder: PathLike) -> Pictures:
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
    if not parts:
        files, names = _named(folder, files)
        return Pictures(files, _printable(names), left_out)
    depth = parts[0].count("/") + 1
    first, second = ([file for file in files if file.startswith(f"{part}/")] for part in parts)
    beside = set(files) - {*first, *second}
    if beside:
        left_out[BESIDE] = sorted(beside)
    first, names = _named(folder, first, depth)
    second, other_names = _named(folder, second, depth)
    classes, other_classes = set(names or ()), set(other_names or ())
    if max(len(classes), len(other_classes)) < 2:
        # One class says nothing.
        names = None
    elif other_classes and other_classes <= classes:
        names += other_names
    else:
        only = min(other_classes - classes, default="no classes")
        train, test = (os.path.basename(part) for part in parts)
        raise InputError(
            f"{folder}: the classes of {test} are not those of {train} ({test} has {only}); make "
            f"them the same, or give {folder / parts[0]} alone, of which a part is held out"
        )
    return Pictures(first + second, _printable(names), left_out, len(second), parts)


def what_else(left_out: dict[str, list[str]]) -> str:
    """What was left out, and why, as the end of a line; nothing if nothing was."""
    shown = (
        f"{len(paths):,} {why} ({', '.join([*paths[:2], '...'][: len(paths)])})"
        for why, paths in left_out.items()
        if paths
    )
    what = ", ".join(shown)
    return what and f"; left out: {printable(what)}"


def suffixes() -> list[str]:
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


def _named(folder, files, start=0):
    """``files`` in order, and the class of each; None for those of a flat folder.

    ``start``: how many folders above them are no classes.
    """
    depth, flat, below = _step_in(files, start)
    if flat and below and depth == start:
        raise InputError(
            f"{folder.joinpath(*files[0].split('/')[:start])}: it holds images and sub-folders "
            "with images; expected either images, or one sub-folder per class"
        )
    if flat and depth == start:
        return sorted(files), None
    # Where the one sub-folder holds pictures itself, all is of its one class.
    at = depth - bool(flat)
    files = sorted(files, key=lambda file: (file.split("/")[at], file))
    return files, [file.split("/")[at] for file in files]


def _step_in(files, depth=0):
    """How deep files lie in single folders, those that lie just there, and the folders there."""
    while True:
        flat = [file for file in files if file.count("/") == depth]
        below = {file.split("/")[depth] for file in files if file.count("/") > depth}
        if flat or len(below) > 1:
            return depth, flat, below
        depth += 1


def _split(files):
    """The paths of the two sub-folders that split the files; none if they are not there."""
    depth, flat, below = _step_in(files)
    there = {} if flat else {name.lower(): name for name in sorted(below)}
    parts = [next((there[name] for name in names if name in there), None) for names in SPLIT]
    if None in parts:
        return ()
    return tuple("/".join([*files[0].split("/")[:depth], part]) for part in parts)


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
