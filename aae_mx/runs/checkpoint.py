"""Checkpoints: plain arrays with a check sum, {name: array}, in NumPy's npz format."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Sequence

import numpy as np

from aae_mx.errors import InputError
from aae_mx.files import inside, open_regular, write_arrays
from aae_mx.hints import PathLike, Shape, Shapes

CHECKPOINTS = "checkpoints"
# What the names of an optimizer's arrays begin with; a slim checkpoint has none of them.
OPTIMIZERS = ("adam/", "sgd/")
# More than this project ever writes for the headers of an array.
MAX_HEADER_BYTES = 1000


# More than any training counts, and larger than what it computes with.
MAX_COUNT, MAX_VALUE = 2**40, 1e18


class Position(NamedTuple):
    """How far a training is: ``step`` batches into the epoch after ``epoch``."""

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = {}  # {metric: its sum over the images of those batches}
    seconds: float = 0.0  # that those batches took


def checkpoints(path: PathLike) -> list[Path]:
    """The checkpoints of the run in the directory ``path``, oldest first."""
    return numbered(Path(path, CHECKPOINTS), r"checkpoint-(\d{5,})-(\d{7,})\.npz")


def numbers_of(file: Path) -> list[int]:
    """The epoch and the step in the name of a checkpoint."""
    return [int(number) for number in file.stem.split("-")[1:]]


def finished_epochs(path: PathLike) -> int:
    """How many epochs the last checkpoint of a run has behind it; 0 without one."""
    files = checkpoints(path)
    return numbers_of(files[-1])[0] if files else 0


def numbered(directory: Path, pattern: str) -> list[Path]:
    """The files of a directory with names of a pattern, in the order of the numbers in them."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{directory}: cannot be read ({error})") from error
    matches = filter(None, (re.fullmatch(pattern, name) for name in names))
    found = sorted(matches, key=lambda match: [int(number) for number in match.groups()])
    return [directory / match[0] for match in found]


def write(path: Path, position: Position, arrays: dict[str, np.ndarray], keep: int) -> None:
    """Write a checkpoint of ``arrays`` at ``position``, and remove those that are not kept."""
    stored: dict[str, Any] = {
        "epoch": np.array(position.epoch, np.int64),
        "step": np.array(position.step, np.int64),
        "seconds": np.array(position.seconds, np.float64),
        **{f"sums/{name}": np.array(value, np.float32) for name, value in position.sums.items()},
        **arrays,
    }
    stored["sha256"] = _digest(stored)
    name = f"checkpoint-{position.epoch:05}-{position.step:07}.npz"
    directory = inside(path, path / CHECKPOINTS)
    write_arrays(directory / name, stored, np.savez)
    files = checkpoints(path)
    last = files.index(directory / name) + 1
    # Those after it were damaged: the run has gone back to one before them.
    for old in files[: max(0, last - keep)] + files[last:]:
        # A file that somebody holds open may stay, on some file systems; until the next time.
        with suppress(OSError):
            old.unlink(missing_ok=True)


def read(
    file: Path, expected: Shapes, metrics: Sequence[str], run_format: int
) -> tuple[dict[str, np.ndarray], Position]:
    """The arrays and the Position of a checkpoint, checked.

    ``expected``: {name: (dtype, shape)} of weights and optimizer states; ``metrics``: those that
    have sums, of a training that was within an epoch. Raises InputError for anything else.
    """
    wanted: Shapes = {
        "epoch": ("<i8", ()),
        "step": ("<i8", ()),
        "seconds": ("<f8", ()),
        "sha256": ("|u1", (32,)),
        **expected,
    }
    sums: Shapes = {f"sums/{name}": ("<f4", ()) for name in metrics}
    if run_format == 6:
        sums = {"sums": ("<f4", (len(metrics),))}
    arrays = _read_arrays(file, wanted, sums)
    counts = [int(array) for array in arrays.values() if array.dtype == np.int64]
    if min(counts) < 0 or max(counts) > MAX_COUNT:
        raise InputError(f"{file}: it counts epochs or steps below 0, or beyond reason")
    if [int(arrays["epoch"]), int(arrays["step"])] != numbers_of(file):
        raise InputError(f"{file}: it is of another epoch or step than its name says")
    for name, array in arrays.items():
        # Of weights, as with such a training ends, see training.loop.check_divergence. A scale has
        # the data's units, and an optimizer's squares are as large as --clip lets them be.
        weight = array.dtype == np.float32 and not name.startswith((*OPTIMIZERS, "sums"))
        if weight and not np.all(np.abs(array) < MAX_VALUE):
            raise InputError(f"{file}: {name} has numbers that are not finite, or beyond reason")
    values = arrays["sums"] if run_format == 6 else [arrays.get(name) for name in sums]
    position = Position(
        int(arrays["epoch"]),
        int(arrays["step"]),
        {name: float(v) for name, v in zip(metrics, values) if v is not None},
        float(arrays["seconds"]),
    )
    return arrays, position


def _read_arrays(file, expected, sums):
    """The arrays of a checkpoint, exactly those that are expected, with their check sum.

    Of a slim one, exactly those that are no optimizer's; all or none of ``sums``.
    """
    sizes = {name: n_bytes(*of) for name, of in {**expected, **sums}.items()}
    try:
        if file.stat().st_size > sum(sizes.values()) + MAX_HEADER_BYTES * (len(sizes) + 1):
            raise InputError(f"{file}: it is larger than a checkpoint of this run can be")
        with open_regular(file) as opened, zipfile.ZipFile(opened) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if not any(name.startswith(OPTIMIZERS) for name in members):
                expected = {n: of for n, of in expected.items() if not n.startswith(OPTIMIZERS)}
            if any(f"{name}.npy" in members for name in sums):
                expected = {**expected, **sums}
            for name in sorted(set(members) ^ {f"{name}.npy" for name in expected}):
                what = "is not one of" if name in members else "is missing from"
                raise InputError(f"{file}: the array {name!r} {what} this run's")
            arrays = {}
            for name, (dtype, shape) in expected.items():
                info = members[f"{name}.npy"]
                if info.compress_type != zipfile.ZIP_STORED:
                    raise InputError(f"{file}: {name} is compressed, which a checkpoint is not")
                with archive.open(info) as stream:
                    check_header(stream, dtype, shape)
                    values = stream.read(sizes[name] + 1)
                if len(values) != sizes[name]:
                    raise ValueError(f"{name} has not the {sizes[name]:,} bytes of its shape")
                arrays[name] = np.frombuffer(values, dtype).reshape(shape)
    except FileNotFoundError as error:
        raise InputError(f"{file}: it has vanished") from error
    except InputError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        # RuntimeError: of zipfile, for an encrypted member or an unknown compression.
        raise InputError(f"{file}: cannot be read ({error})") from error
    stored = arrays.pop("sha256")
    if not np.array_equal(_digest(arrays), stored):
        raise InputError(f"{file}: its check sum is wrong; the file is damaged")
    return arrays


def n_bytes(dtype: str, shape: Shape) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def check_header(stream: IO[bytes], dtype: str, shape: Shape) -> None:
    """Read the header of an array in NumPy's format and compare it, without evaluating it."""
    start = stream.read(10)
    if start[:8] != b"\x93NUMPY\x01\x00" or len(start) < 10:
        raise ValueError("an array does not start as one")
    header = stream.read(int.from_bytes(start[8:], "little")).decode("latin1").rstrip()
    wanted = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    if header != wanted:
        shown = header[:100].encode("unicode_escape").decode()
        raise ValueError(f"an array announces {shown}, expected {wanted}")


def _digest(arrays):
    """SHA-256 over names, types, shapes and values: uint8 of shape (32,)."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {np.shape(arrays[name])}\n".encode())
        digest.update(array.tobytes())
    return np.frombuffer(digest.digest(), np.uint8)
