"""Images of a folder: PNG and JPEG files, decoded once into a file that is memory-mapped.

The file holds the images one after another as plain bytes, in a random order that is always
the same, and lies in the user's cache directory. It is made anew when a file of the folder is
added, removed or changed (by name, size or time).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np

from aae_mx.errors import InputError
from aae_mx.files import lock, write_aside
from aae_mx.text import say

SUFFIXES = (".png", ".jpg", ".jpeg")
# Of the images, one in so many is held out, but no more than MAX_HELD_OUT.
HELD_OUT, MAX_HELD_OUT = 10, 10_000
# Files that are decoded together, and names of unreadable ones that are shown.
DECODED_TOGETHER, SHOWN = 256, 20
# Each may hold an image of 90 million pixels, the most that Pillow thinks harmless.
MAX_THREADS = 4


def read_folder(folder, size, channels, quiet=False):
    """(images, labels, number held out, classes) of a folder of PNG and JPEG files.

    ``images``: memory-mapped uint8, (N, size, size), or (N, size, size, 3) if ``channels`` is
    ``colour``; the held-out ones are the last. ``labels``: int64 of shape (N,), positions in
    ``classes``, the names of the sub-folders; a flat folder has none, and all labels are 0.
    Files that cannot be read are skipped, and listed on stderr unless ``quiet``. Raises
    InputError if fewer than two are left, for a folder that is neither flat nor sub-folders,
    and where the cache cannot be written.
    """
    folder = Path(folder)
    files, labels, classes = list_images(folder)
    shape = (size, size) if channels == "grey" else (size, size, 3)
    cache = Cache(folder, files, shape)
    skipped = cache.skipped()
    if skipped is None:
        skipped = cache.make(quiet)
    order = np.array([i for i in cache.order if files[i] not in skipped], np.int64)
    images = np.memmap(cache.pixels, np.uint8, mode="r", shape=(len(order), *shape))
    held_out = min(max(1, len(order) // HELD_OUT), MAX_HELD_OUT)
    return images, labels[order], held_out, classes


def list_images(folder):
    """The files of a folder, by their paths in it, with labels and the names of the classes.

    Raises InputError for a folder without images, or with both images and folders of images.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be read ({error.strerror})") from error
    flat = [entry.name for entry in entries if _is_image(entry)]
    classes = {}
    for entry in entries:
        if entry.is_dir():
            found = sorted(
                str(Path(directory, name).relative_to(folder))
                for directory, _, names in os.walk(entry)
                for name in names
                if _is_image(Path(directory, name))
            )
            if found:
                classes[entry.name] = found
    if flat and classes:
        raise InputError(
            f"{folder}: it holds images and sub-folders with images; expected either images, "
            "or one sub-folder per class"
        )
    if not flat and not classes:
        raise InputError(f"{folder}: there are no {', '.join(SUFFIXES)} files in it")
    if len(classes) < 2:
        # One class says nothing.
        files = flat or next(iter(classes.values()))
        return files, np.zeros(len(files), np.int64), ()
    files = [file for found in classes.values() for file in found]
    labels = np.repeat(np.arange(len(classes)), [len(found) for found in classes.values()])
    return files, labels, tuple(classes)


def _is_image(path):
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


class Cache:
    """The decoded images of ``files`` in ``folder``, of one ``shape``.

    ``order``: positions in ``files``, as the images lie in the file ``pixels``.
    """

    def __init__(self, folder, files, shape):
        self.folder, self.files, self.shape = folder, files, shape
        self.order = np.random.default_rng(0).permutation(len(files))
        digest = hashlib.sha256()
        for file in files:
            stat = (folder / file).stat()
            digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode("utf8", "replace"))
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "aae_mx")
        place = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]
        self.directory = base / f"{folder.name}-{place}-{'x'.join(map(str, shape))}"
        self.pixels = self.directory / f"{digest.hexdigest()[:16]}.uint8"
        self.description = self.pixels.with_suffix(".json")

    def skipped(self):
        """The unreadable files as {file: why}; None if the cache is not there, or is damaged."""
        try:
            skipped = json.loads(self.description.read_text("utf8"))["skipped"]
            n = len(self.files) - len(set(self.files) & set(skipped))
            if self.pixels.stat().st_size == n * int(np.prod(self.shape)) > 0:
                return skipped
        except (OSError, ValueError, TypeError, KeyError):
            pass
        return None

    def make(self, quiet):
        """Decode the files; returns what ``skipped`` does."""
        say = (lambda text: None) if quiet else _say
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with lock(self.directory, "another process is decoding images there; wait for it"):
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
        for file, why in list(skipped.items())[:SHOWN]:
            say(f"skipped {file}: {why}")
        if skipped:
            more = len(skipped) - SHOWN
            say(
                (f"... and {more:,} more, see {self.description}\n" if more > 0 else "")
                + f"{len(skipped):,} of {len(self.files):,} files cannot be read and are left out"
            )
        return skipped

    def _fill(self, say, quiet):
        """Decode the files into the cache; returns those left out, and why."""
        needed = len(self.files) * int(np.prod(self.shape))
        free = shutil.disk_usage(self.directory).free
        if free < needed:
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
                os.fsync(output.fileno())
            left = len(self.files) - len(skipped)
            if left < 2:
                example = next((f" ({file}: {why})" for file, why in skipped.items()), "")
                raise InputError(
                    f"{self.folder}: {left} of {len(self.files)} files can be read, at least two "
                    f"are needed{example}"
                )
            os.replace(aside, self.pixels)
        finally:
            aside.unlink(missing_ok=True)
        text = json.dumps({"folder": str(self.folder), "skipped": skipped}, indent=1) + "\n"
        write_aside(self.description, lambda file: file.write(text.encode()))
        return skipped

    def _decode(self, output, quiet):
        """Write the images, decoded, to the file ``output``."""
        from PIL import Image

        skipped = {}
        shown = not quiet and sys.stderr.isatty()
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            # Of an image that is larger than Pillow thinks harmless.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            pool = stack.enter_context(ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)))
            bar = click.progressbar(length=len(self.files), label="decoding", file=sys.stderr)
            if shown:
                stack.enter_context(bar)
            for start in range(0, len(self.files), DECODED_TOGETHER):
                files = [self.files[i] for i in self.order[start : start + DECODED_TOGETHER]]
                for file, pixels in zip(files, pool.map(self._decode_one, files)):
                    if isinstance(pixels, str):
                        skipped[file] = pixels
                    else:
                        output.write(pixels)
                if shown:
                    bar.update(len(files))
        return skipped

    def _decode_one(self, file):
        """The pixels of a file as bytes, or why it cannot be read, as a text."""
        try:
            return decode(self.folder / file, self.shape).tobytes()
        except Exception as error:  # noqa: B902 - what Pillow raises depends on the file
            return (str(error).strip() or type(error).__name__).splitlines()[0]


def decode(path, shape):
    """A PNG or JPEG file as uint8 of ``shape``, (size, size) in grey or (size, size, 3).

    The middle square is resized; it is turned as a camera's note says, and what is transparent
    lies on white.
    """
    from PIL import Image, ImageOps

    size = shape[:2]
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        # JPEG can be decoded at a half, quarter or eighth, as long as it stays larger than this.
        image.draft(None, (2 * size[0], 2 * size[1]))
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            # 16 bits, which Pillow would cut off at 255 instead of scaling.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if "A" in image.mode or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if len(shape) == 2 else "RGB")
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        square = image.crop((left, top, left + side, top + side))
        return np.asarray(square.resize(size, Image.LANCZOS))


def megabytes(n):
    """``n`` bytes as a text, in MB."""
    return f"{n / 1e6:,.1f} MB"


def _say(text):
    # Names of files need not be UTF-8.
    say(text, err=True)
