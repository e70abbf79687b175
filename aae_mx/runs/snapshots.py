"""Snapshots: the codes of the held-out images after each epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aae_mx.errors import InputError
from aae_mx.files import inside, open_regular
from aae_mx.hints import PathLike
from aae_mx.runs.checkpoint import check_header, n_bytes, numbered

# That the directory is there says that snapshots are kept, also when a run goes on. It is no
# setting, as it changes nothing of what is trained.
SNAPSHOTS = "snapshots"


def snapshots(path: PathLike) -> dict[int, Path]:
    """The snapshots of the run in the directory ``path``, {epoch: file} in order of epochs."""
    directory = Path(path, SNAPSHOTS)
    if directory.exists():
        inside(Path(path), directory)
    return {int(file.stem[6:]): file for file in numbered(directory, r"epoch-(\d{5,})\.npy")}


def read_snapshots(path: PathLike, n: int, code_dim: int) -> dict[int, np.ndarray]:
    """The held-out codes after each epoch, {epoch: float32 (n, code_dim)}; 0 is before the first.

    Raises InputError if the run kept none, and for files that hold anything else.
    """
    files = snapshots(path)
    if not files:
        raise InputError(
            f"{path}: it has no snapshots; train with --snapshots to keep the codes of each epoch"
        )
    return {epoch: _read_snapshot(Path(path), file, n, code_dim) for epoch, file in files.items()}


def _read_snapshot(path, file, n, code_dim):
    size = n_bytes("<f4", (n, code_dim))
    try:
        with open_regular(inside(path, file)) as stream:
            check_header(stream, "<f4", (n, code_dim))
            values = stream.read(size + 1)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    if len(values) != size:
        raise InputError(f"{file}: it has not the {size:,} bytes of its codes")
    codes = np.frombuffer(values, "<f4").reshape(n, code_dim)
    if not np.isfinite(codes).all():
        raise InputError(f"{file}: its codes are not all finite")
    return codes
