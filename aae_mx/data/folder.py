"""Images of a folder, decoded once into a file that is memory-mapped.

The file holds the images one after another as plain bytes, in a random order that is always
the same, and lies in the user's cache directory. It is made anew when a file of the folder is
added, removed or changed (by name, size or time).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import BinaryIO, Optional, Sequence

import click
import numpy as np

from aae_mx.data.walk import FORMATS, Pictures, find_pictures, what_else
from aae_mx.errors import InputError
from aae_mx.files import flush, free_bytes, lock, megabytes, write_aside
from aae_mx.hints import PathLike, Shape
from aae_mx.text import printable, say
from aae_mx.threads import usable_cores

# Of the images, one in so many is held out, but no more than MAX_HELD_OUT.
HELD_OUT, MAX_HELD_OUT = 10, 10_000
# Files that are decoded together, and names of unreadable ones that are shown.
DECODED_TOGETHER, SHOWN = 256, 20
# Each may hold an image of 90 million pixels, the most that Pillow thinks harmless.
MAX_THREADS = 4
# From so many pixels on, a picture is decoded alone.
LARGE = 20_000_000
_large = threading.Lock()
# The number of a camera's note of how it was held (Exif).
ORIENTATION = 0x0112
# Why files and classes are left out once they have been looked into, as those of walk.py.
UNREADABLE, NONE_READABLE = "unreadable", "without readable pictures"


def read_folder(
    folder: PathLike, size: int, channels: str, quiet: bool = False
) -> tuple[np.ndarray, Optional[np.ndarray], int, np.ndarray]:
    """(images, names, number held out, files) of a folder of pictures.

    ``images``: memory-mapped uint8, (N, size, size), or (N, size, size, 3) if ``channels`` is
    ``colour``; the held-out ones are the last. ``names``: the class of each, the name of its
    sub-folder, an array of N texts; None for a flat folder. ``files``: as many paths in the folder.
    Files that cannot be read are skipped, and listed on stderr unless ``quiet``, where one line
    says what else was left out. Raises InputError as ``find_pictures`` does, if fewer than two
    images are left, none of them held out, or none not, and where the cache cannot be written.
    """
    folder = Path(folder)
    found = find_pictures(folder)
    n = len(found.files)
    rng = np.random.default_rng(0)
    first = n - found.held_out
    order = np.concatenate([rng.permutation(first), first + rng.permutation(found.held_out)])
    shape = (size, size) if channels == "grey" else (size, size, 3)
    cache = Cache(folder, found, order, shape)
    skipped = cache.skipped()
    if skipped is None:
        skipped = cache.make(quiet)
    line = summary(folder, found, skipped)
    if line not in ("", cache.said) and not quiet:
        _say(line)
    kept = [i for i in order if found.files[i] not in skipped]
    images = np.memmap(cache.pixels, np.uint8, mode="r", shape=(len(kept), *shape))
    held_out = min(max(1, len(kept) // HELD_OUT), MAX_HELD_OUT)
    if found.held_out:
        held_out = sum(i >= first for i in kept)
        if held_out in (0, len(kept)):
            which = "trained on" if held_out else "held out"
            raise InputError(f"{folder}: of the pictures to be {which} none can be read")
    return images, _kept(found.names, kept), held_out, _kept(found.files, kept)


def read_pictures(
    folder: PathLike, shape: Shape, quiet: bool = False
) -> tuple[np.ndarray, Optional[np.ndarray], np.ndarray]:
    """(images, names, files) of all pictures of a folder, one or more, in order of their names.

    As ``read_folder`` gives them, but nothing is held out, and no decoded images are kept.
    """
    folder = Path(folder)
    found = find_pictures(folder)
    try:
        # The system removes it with the last who reads it.
        with tempfile.TemporaryFile() as output:
            skipped = decode_all(folder, found.files, shape, output, quiet)
            output.flush()
            kept = [i for i, file in enumerate(found.files) if file not in skipped]
            if not kept:
                raise InputError(_too_few(folder, found.files, skipped, "one is needed"))
            images = np.memmap(output, np.uint8, mode="r", shape=(len(kept), *shape))
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: the decoded images of {folder} cannot be kept there "
            f"({error.strerror}); set TMPDIR to a directory that can be written"
        ) from error
    line = summary(folder, found._replace(held_out=0), skipped)
    if not quiet and line:
        list_skipped(skipped)
        _say(line)
    return images, _kept(found.names, kept), _kept(found.files, kept)


def _kept(values, kept):
    return None if values is None else np.array([values[i] for i in kept])


def summary(folder: Path, found: Pictures, skipped: dict[str, str]) -> str:
    """One line of how many pictures of a folder are taken, and how many are left out and why.

    Nothing if none is left out. ``found``: its Pictures; ``skipped``: {unreadable file: why}.
    """
    taken = [i for i, file in enumerate(found.files) if file not in skipped]
    left_out = {UNREADABLE: list(skipped), **found.left_out}
    if found.names:
        left_out[NONE_READABLE] = sorted(set(found.names) - {found.names[i] for i in taken})
    split = ""
    if found.held_out:
        first = len(found.files) - found.held_out
        held_out = sum(i >= first for i in taken)
        trained_on = f"{len(taken) - held_out:,} of {found.parts[0]}"
        split = f": {trained_on}; held out: {held_out:,} of {found.parts[1]}"
    what = what_else(left_out)
    return f"{folder}: {len(taken):,} pictures taken{split}{what}" if split or what else ""


class Cache:
    """The decoded images of ``found``, the Pictures of ``folder``, in one ``order`` and ``shape``.

    ``order``: positions in the files, as their images lie in the file ``pixels``.
    """

    def __init__(self, folder: Path, found: Pictures, order: np.ndarray, shape: Shape) -> None:
        self.folder, self.found, self.order, self.shape = folder, found, order, shape
        self.files = found.files
        # The summary that was said when the images were decoded.
        self.said = None
        digest = hashlib.sha256()
        for file in self.files:
            stat = (folder / file).stat()
            digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode("utf8", "replace"))
        base = Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache", "aae_mx")
        place = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]
        self.directory = base / f"{folder.name}-{place}-{'x'.join(map(str, shape))}"
        self.pixels = self.directory / f"{digest.hexdigest()[:16]}.uint8"
        self.description = self.pixels.with_suffix(".json")

    def skipped(self) -> Optional[dict[str, str]]:
        """The unreadable files as {file: why}; None if the cache is not there, or is damaged."""
        try:
            description = json.loads(self.description.read_text("utf8"))
            skipped = description["skipped"]
            n = len(self.files) - len(set(self.files) & set(skipped))
            texts = all(isinstance(text, str) for pair in skipped.items() for text in pair)
            right = self.pixels.stat().st_size == n * int(np.prod(self.shape)) > 0
            # Caches of before have no check sum.
            if right and texts and description.get("crc32") in (None, self._check_sum()):
                self.said = description.get("said")
                return skipped
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass
        return None

    def _check_sum(self):
        total = 0
        with open(self.pixels, "rb") as file:
            for part in iter(lambda: file.read(1 << 22), b""):
                total = zlib.crc32(part, total)
        return total

    def make(self, quiet: bool) -> dict[str, str]:
        """Decode the files; returns what ``skipped`` does."""
        say = (lambda text: None) if quiet else _say
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with self._lock(say):
                skipped = self.skipped()
                if skipped is not None:
                    # Another process has made it in between.
                    return skipped
                # Those of an earlier state of the folder, and what a killed process left.
                for old in self.directory.glob("[!.]*"):
                    old.unlink()
                skipped = self._fill(say, quiet)
        except OSError as error:
            raise InputError(
                f"{self.directory}: the decoded images cannot be kept there ({error.strerror}); "
                "set XDG_CACHE_HOME to a directory that can be written"
            ) from error
        if not quiet:
            list_skipped(skipped, self.description)
        return skipped

    def _lock(self, say):
        """The lock of the directory, when it is free."""
        try:
            return lock(self.directory)
        except InputError:
            say(f"{self.folder}: another process is decoding these images; waiting for it")
            return lock(self.directory, "the cache cannot be locked", wait=True)

    def _fill(self, say, quiet):
        """Decode the files into the cache; returns those left out, and why."""
        needed = len(self.files) * int(np.prod(self.shape))
        free = free_bytes(self.directory)
        if free is not None and free < needed:
            raise InputError(
                f"{self.directory}: the decoded images need {megabytes(needed)}, but only "
                f"{megabytes(free)} are free; make room or set XDG_CACHE_HOME"
            )
        say(
            f"{self.folder}: decoding {len(self.files):,} images into {self.pixels} "
            f"({megabytes(needed)})"
        )
        aside = self.pixels.with_suffix(".tmp")
        try:
            with open(aside, "wb") as output:
                skipped = self._decode(output, quiet)
                output.flush()
                flush(output.fileno())
            if len(self.files) - len(skipped) < 2:
                wanted = "at least two are needed"
                raise InputError(_too_few(self.folder, self.files, skipped, wanted))
            os.replace(aside, self.pixels)
        finally:
            aside.unlink(missing_ok=True)
        description = {
            "folder": str(self.folder),
            "skipped": skipped,
            "said": summary(self.folder, self.found, skipped),
            "crc32": self._check_sum(),
        }
        content = (json.dumps(description, indent=1) + "\n").encode()
        try:
            write_aside(self.description, lambda file: file.write(content))
        except BaseException:
            # Large, and of no use without it.
            self.pixels.unlink(missing_ok=True)
            raise
        return skipped

    def _decode(self, output, quiet):
        files = [self.files[i] for i in self.order]
        return decode_all(self.folder, files, self.shape, output, quiet)


def decode_all(
    folder: Path, files: Sequence[str], shape: Shape, output: BinaryIO, quiet: bool
) -> dict[str, str]:
    """Write the images of ``files`` in ``folder``, decoded, one after another to a binary file.

    Returns those that cannot be read as {file: why}.
    """
    from PIL import Image

    def decode_one(file):
        try:
            return decode(folder / file, shape).tobytes()
        except Exception as error:  # noqa: B902 - what Pillow raises depends on the file
            return (str(error).strip() or type(error).__name__).splitlines()[0]

    skipped = {}
    shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        # Of an image that is larger than Pillow thinks harmless.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        pool = stack.enter_context(ThreadPoolExecutor(min(usable_cores(), MAX_THREADS)))
        bar = click.progressbar(length=len(files), label="decoding", file=sys.stderr)
        if shown:
            stack.enter_context(bar)
        for start in range(0, len(files), DECODED_TOGETHER):
            together = files[start : start + DECODED_TOGETHER]
            for file, pixels in zip(together, pool.map(decode_one, together)):
                if isinstance(pixels, str):
                    skipped[file] = pixels
                else:
                    output.write(pixels)
            if shown:
                bar.update(len(together))
    return skipped


def list_skipped(skipped: dict[str, str], description: Optional[Path] = None) -> None:
    """List unreadable files, {file: why}, on stderr: the first ones, or all in ``description``."""
    for file, why in list(skipped.items())[:SHOWN]:
        _say(f"skipped {file}: {why}")
    if len(skipped) > SHOWN:
        where = f", see {description}" if description else ""
        _say(f"... and {len(skipped) - SHOWN:,} more{where}")


def _too_few(folder, files, skipped, wanted):
    example = next((f" ({file}: {why})" for file, why in skipped.items()), "")
    left = len(files) - len(skipped)
    return f"{folder}: {left} of {len(files)} files can be read, {wanted}{example}"


def decode(path: PathLike, shape: Shape) -> np.ndarray:
    """A picture as uint8 of ``shape``, (size, size) in grey or (size, size, 3).

    The middle square is resized; it is turned as a camera's note says, and what is transparent
    lies on white. Of several frames it is the first. Raises what Pillow does, and ValueError for
    pixels of more than 16 bits.
    """
    from PIL import Image

    size = shape[0], shape[1]
    with Image.open(path, formats=sorted(set(FORMATS.values()))) as opened:
        # JPEG can be decoded at a half, quarter or eighth, as long as it stays larger than this.
        opened.draft(None, (2 * size[0], 2 * size[1]))
        # One large picture at a time: with all that is made of it, it takes up to a gigabyte.
        large = opened.width * opened.height > LARGE
        with _large if large else nullcontext():
            return _square(opened, shape)


def _square(opened, shape):
    from PIL import Image, ImageOps

    size = shape[0], shape[1]
    # It makes a copy even if there is nothing to turn.
    turned = opened.getexif().get(ORIENTATION, 1) != 1
    image = ImageOps.exif_transpose(opened) if turned else opened
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    image = image.crop((left, top, left + side, top + side))
    if image.mode.startswith("I"):
        # 16 bits, which Pillow would cut off at 255 instead of scaling.
        values = np.asarray(image)
        if values.min() < 0 or values.max() >= 2**16:
            raise ValueError("its pixels have more than 16 bits")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are fractions, of which the range is not known")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    image = image.convert("L" if len(shape) == 2 else "RGB")
    return np.asarray(image.resize(size, Image.LANCZOS))


def _home():
    try:
        return Path.home()
    except RuntimeError as error:
        raise InputError(
            "this user has no home directory; set XDG_CACHE_HOME to one that can be written"
        ) from error


def _say(text):
    say(printable(text), err=True)
