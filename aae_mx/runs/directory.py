"""The directory of a run: made, locked, described and read."""

from __future__ import annotations

import itertools
import json
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np

from aae_mx import __version__
from aae_mx.errors import InputError
from aae_mx.files import (
    LOCK,
    aside_of,
    check_directory,
    free_bytes,
    inside,
    lock,
    megabytes,
    read_text,
    write_aside,
)
from aae_mx.hints import PathLike
from aae_mx.runs import checkpoint
from aae_mx.runs.checkpoint import CHECKPOINTS, Position
from aae_mx.runs.history import HISTORY, cell, read_rows
from aae_mx.runs.snapshots import SNAPSHOTS, snapshots
from aae_mx.text import shortened

# Of config.json and the checkpoints; a new one when those of before would mean something else now.
# Every later version reads the formats since 6.
FORMAT, READABLE = 7, (6, 7)
CONFIG = "config.json"
# More than this project ever writes.
MAX_CONFIG_BYTES = 10**6
# Of each kind of names how many there may be, and characters of one.
MAX_NAMES, MAX_NAME = {"classes": 10_000, "feature_names": 2**16}, 300


class Run:
    """A run's directory while it is being written. It is locked until the ``with`` ends.

    ``keep``: how many of the last checkpoints stay.
    """

    def __init__(self, path: PathLike, keep: int) -> None:
        self.path, self.keep = Path(path), keep
        self.rows: list[dict[str, str]] = []
        self._lock = lock(self.path)
        self._place = os.fstat(self._lock.fileno())

    def check_place(self) -> None:
        """Raise InputError if the directory is no longer the one that is locked.

        It may have been moved, or removed and made again by another training; what is written goes
        by its name.
        """
        try:
            now = os.stat(self.path / LOCK, follow_symlinks=False)
        except OSError:
            now = None
        if now is None or not os.path.samestat(now, self._place):
            raise InputError(
                f"{self.path}: it was moved, removed or replaced while this training wrote there; "
                "nothing more is written"
            )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    @classmethod
    def create(
        cls,
        name: str,
        description: dict[str, Any],
        out: Optional[PathLike] = None,
        keep: int = 2,
        snapshots: bool = False,
    ) -> Run:
        """A new run in the directory ``out``, or in one called ``name`` under runs/.

        ``description``: see ``describe``. ``snapshots``: whether it keeps them. Raises InputError
        if ``out`` exists and is not empty, or cannot be written.
        """
        check_new(out)
        try:
            path, new = _make_new(name, out)
            run = cls(path, keep)
        except OSError as error:
            where = out or default_path(name)
            raise InputError(f"{where}: cannot be made a run's directory ({error})") from error
        # Again, now that no other process can write there.
        if not _is_new(path):
            run._lock.close()
            raise _taken(path)
        try:
            for name, wanted in ((CHECKPOINTS, True), (SNAPSHOTS, snapshots)):
                # They may be there from a call that was killed.
                if wanted:
                    (path / name).mkdir(exist_ok=True)
                elif (path / name).exists():
                    (path / name).rmdir()
            run.describe(description)
        except BaseException as error:
            run._undo(new)
            if not isinstance(error, OSError):
                raise
            raise InputError(f"{path}: cannot be made a run's directory ({error})") from error
        return run

    def _undo(self, new):
        """Remove what ``create`` made, or the next call would take it for somebody's files."""
        with suppress(OSError):
            # First, as a run is what has one. It may be there, but not told to the disk.
            (self.path / CONFIG).unlink(missing_ok=True)
            for name in (CHECKPOINTS, SNAPSHOTS):
                if (self.path / name).exists():
                    (self.path / name).rmdir()
            if new:
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        self._lock.close()

    @classmethod
    def reopen(cls, path: PathLike, keep: int = 2) -> Run:
        """The run in the directory ``path``, locked, to go on with it.

        Raises InputError if another process is training there, or if it cannot be written.
        """
        try:
            run = cls(path, keep)
            (run.path / CHECKPOINTS).mkdir(exist_ok=True)
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error})") from error
        return run

    def go_on(self, description: dict[str, Any], epoch: int) -> None:
        """Drop history and snapshots after ``epoch``; the description may have changed."""
        self.rows = (read_rows(self.path) if epoch else [])[:epoch]
        if len(self.rows) < epoch:
            raise InputError(
                f"{self.path / HISTORY}: it has {len(self.rows)} of the {epoch} epochs that were "
                "trained; put back what was there"
            )
        for number, file in snapshots(self.path).items():
            if number > epoch:
                try:
                    file.unlink(missing_ok=True)
                except OSError as error:
                    raise InputError(f"{file}: cannot be removed ({error})") from error
        self.describe(description)

    def describe(self, description: dict[str, Any]) -> None:
        """Write config.json: ``config``, ``given``, ``image_shape``, ``classes`` and ``data``.

        Raises InputError for more, or longer, names than ``read_description`` takes.
        """
        for what in MAX_NAMES:
            _check_names(description.get(what) or (), what)
        description = {"format": FORMAT, "version": __version__, **description}
        self.check_place()
        text = json.dumps(description, indent=2) + "\n"
        if len(text) > MAX_CONFIG_BYTES:
            what = f"more than {MAX_CONFIG_BYTES:,} bytes of settings and names; shorten the names"
            raise InputError(f"{self.path / CONFIG}: {what}")
        write_aside(self.path / CONFIG, lambda file: file.write(text.encode()))

    def add(self, row: dict[str, float]) -> None:
        """Add the row of an epoch to the history, {column: value}, in the order that it has.

        Raises InputError for other columns than the rows before.
        """
        columns = list(self.rows[0] if self.rows else row)
        if set(row) != set(columns):
            raise InputError(
                f"{self.path / HISTORY}: its columns are {', '.join(columns)}; expected "
                f"{', '.join(row)}; put back what was there"
            )
        self.rows.append({name: cell(row[name]) for name in columns})
        self.check_place()
        lines = [",".join(columns)]
        lines += [",".join(cells[name] for name in columns) for cells in self.rows]
        write_aside(
            self.path / HISTORY, lambda file: file.write(("\n".join(lines) + "\n").encode())
        )

    @property
    def keeps_snapshots(self) -> bool:
        return (self.path / SNAPSHOTS).exists()

    def add_snapshot(self, epoch: int, codes: np.ndarray) -> None:
        """Keep the codes of the held-out images after ``epoch``."""
        self.check_place()
        name = f"epoch-{epoch:05}.npy"
        directory = inside(self.path, self.path / SNAPSHOTS)
        write_aside(directory / name, lambda file: np.save(file, codes))

    def save(self, position: Position, arrays: dict[str, np.ndarray]) -> None:
        """Write a checkpoint of {name: array} at ``position``; the last ones stay."""
        self.check_place()
        checkpoint.write(self.path, position, arrays, self.keep)


class Unwritten:
    """In the place of a Run where another process writes it."""

    keeps_snapshots = False

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)

    def __enter__(self) -> Unwritten:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def go_on(self, *given: object) -> None:
        pass

    add = save = go_on


def go_on_with(path: PathLike, *options: str) -> str:
    """The command that goes on with the run in the directory ``path``."""
    return " ".join(["python -m aae_mx.train --resume", shlex.quote(str(path)), *options])


def read_description(path: PathLike) -> dict[str, Any]:
    """What config.json says, a dictionary: ``format``, ``version``, ``config`` and ``given``, the
    settings and the names of those that were given; ``image_shape``, ``classes`` and ``data``, the
    fingerprint of the data; of rows of features perhaps ``feature_names``.

    Raises InputError, naming the file, if there is none, and for anything that is not so.
    """
    file = Path(path) / CONFIG
    try:
        text = read_text(Path(path), CONFIG, MAX_CONFIG_BYTES)
        description = json.loads(text)
        if description["format"] not in READABLE:
            raise InputError(
                f"{file}: format {description['format']} of aae_mx {description['version']}; this "
                f"is aae_mx {__version__}, which reads the formats {READABLE[0]} to {FORMAT}; "
                "train the run again"
            )
        shape, classes = description["image_shape"], description["classes"]
        settings = description["config"]
        # Format 6 does not tell them apart.
        given = description.setdefault("given", list(settings))
        names = description.get("feature_names")
        if not (
            len(shape) in (1, 2, 3)
            and all(type(size) is int and 0 < size < 2**16 for size in shape)
            and shape[2:] in ([], [3])
            and (len(shape) == 1)
            == (settings.get("shape") is not None and len(settings["shape"]) == 1)
            and (names is None or _are_names(names, shape))
            and isinstance(classes, list)
            and all(isinstance(name, str) for name in classes)
            and isinstance(description["data"], str)
        ):
            raise InputError(f"{file}: its image_shape, classes or data are not what a run has")
        if not isinstance(settings, dict) or not isinstance(given, list):
            raise InputError(f"{file}: its settings are not what a run has")
        try:
            _check_names(classes, "classes")
            _check_names(names or (), "feature_names")
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        return description
    except FileNotFoundError as error:
        if Path(path, CHECKPOINTS).is_dir() and _is_new(path):
            why = "it was killed before it began; give its first command again"
        else:
            why = f"{CONFIG} is missing"
        raise InputError(f"{path}: there is no run here ({why})") from error
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{file}: {error.args[0]!r} is missing") from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def _check_names(names, what):
    if len(names) > MAX_NAMES[what]:
        raise InputError(f"{len(names):,} {what}: expected at most {MAX_NAMES[what]:,}")
    if max(map(len, names), default=0) > MAX_NAME:
        longest = shortened(max(names, key=len), 20)
        raise InputError(f"{what}: {longest!r} has more than {MAX_NAME} characters")


def _are_names(names, shape):
    return (
        isinstance(names, list)
        and [len(names)] == shape
        and all(isinstance(name, str) for name in names)
    )


def check_new(out: Optional[PathLike] = None) -> None:
    """Raise InputError unless ``Run.create`` can make a run in ``out``; nothing is made here.

    Data may take minutes to load, so this is for before.
    """
    path = default_path("run").parent if out is None else Path(out)
    check_directory(path)
    if out is None or not path.exists():
        return
    try:
        if not _is_new(path):
            if LOCK in os.listdir(path):
                # A process that is training there is named before what lies there is.
                lock(path).close()
            raise _taken(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be made a run's directory ({error})") from error


def check_room(path: PathLike, sizes: Sequence[tuple[int, int]]) -> None:
    """Raise InputError unless ``path`` has room for checkpoints.

    ``sizes``: for each training, the bytes of a checkpoint and how many stay; one more is being
    written.
    """
    needed = sum(n * size for size, n in sizes) + max((size for size, _ in sizes), default=0)
    free = free_bytes(path)
    if free is not None and free < needed:
        raise InputError(
            f"{path}: the checkpoints need about {megabytes(needed)}, but only {megabytes(free)} "
            "are free; make room or choose another --out"
        )


def default_path(name: str) -> Path:
    """The directory of a run for which none was given."""
    return Path("runs") / name


def _is_new(path):
    """Whether a directory holds nothing, or what ``Run.create`` has made before its last step."""
    for name in os.listdir(path):
        place = Path(path, name)
        if name in (CHECKPOINTS, SNAPSHOTS) and not place.is_symlink() and place.is_dir():
            if os.listdir(place):
                return False
        elif name not in (LOCK, aside_of(Path(CONFIG)).name):
            return False
    return True


def _taken(path):
    return InputError(f"{path}: it is not empty and is not overwritten; choose another --out")


def _make_new(name, out):
    """The directory ``out``, made if need be, and whether it is new.

    Without ``out``, the first of runs/NAME, runs/NAME-2, ... that can be made: two processes
    that start at once get one each.
    """
    if out is not None:
        path = Path(out)
        new = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        return path, new
    default_path(name).parent.mkdir(parents=True, exist_ok=True)
    while True:
        path = free_path(name)
        try:
            path.mkdir()
            return path, True
        except FileExistsError:
            continue


def free_path(name: str) -> Path:
    """The first of runs/NAME, runs/NAME-2, ... that is not there."""
    path = default_path(name)
    others = (path.with_name(f"{name}-{number}") for number in itertools.count(2))
    return next(p for p in itertools.chain([path], others) if not os.path.lexists(p))
