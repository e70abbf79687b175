"""Files that outlive a crash and are not trusted: written aside, locked, read within limits."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import signal
import stat
import threading
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Callable, Optional, TextIO

import numpy as np

from aae_mx.errors import InputError
from aae_mx.hints import PathLike
from aae_mx.text import say

LOCK = ".lock"
TRAINING = "another process is training there; wait for it or choose another --out"
# What flock answers where another process holds the lock, and where the file system has none.
HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# What fsync answers where the file system does not know it, for directories mostly.
NO_FLUSH = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}

# Where Linux has the memory limit of a container: of control groups of version 2 and 1.
GROUPS = ("sys/fs/cgroup", "sys/fs/cgroup/memory")
V1_LIMIT = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def write_aside(path: PathLike, write: Callable[..., object]) -> None:
    """Call ``write(file)`` on a binary file beside ``path``, then rename it to ``path``."""
    path = Path(path)
    aside = aside_of(path)
    with _uninterrupted():
        try:
            # What an interrupted process left there, or a link, is not written through.
            aside.unlink(missing_ok=True)
            with open(aside, "xb") as file:
                write(file)
                file.flush()
                flush(file.fileno())
            os.replace(aside, path)
            _flush_directory(path.parent)
        except BaseException as error:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            raise InputError(f"{path}: cannot be written ({error})") from error


def write_arrays(
    path: PathLike,
    arrays: dict[str, np.ndarray],
    save: Callable[..., object] = np.savez_compressed,
) -> None:
    """Write {name: array} as an .npz file, compressed, or by another function of NumPy.

    In memory first: a full disk then meets a plain write, not the inside of a zip file.
    """
    buffer = io.BytesIO()
    save(buffer, **arrays)
    write_aside(path, lambda file: file.write(buffer.getbuffer()))


def aside_of(path: Path) -> Path:
    """Where ``write_aside`` writes what is to become ``path``."""
    return path.with_name(f".{path.name}.tmp")


def flush(descriptor: int) -> None:
    """Make what was written last through a loss of power, as far as the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise


def _flush_directory(path):
    """The same for a renaming in the directory."""
    try:
        directory = os.open(path, os.O_RDONLY)
    except PermissionError:
        # One may write into a directory that one may not read.
        return
    try:
        flush(directory)
    finally:
        os.close(directory)


@contextmanager
def _uninterrupted():
    """Put off Ctrl-C until the block has ended: zipfile turns it into an error of its own."""
    if threading.current_thread() is not threading.main_thread():
        # Signals reach the main thread only.
        yield
        return
    caught = []
    before = signal.signal(signal.SIGINT, lambda *signal_and_frame: caught.append(signal_and_frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught and callable(before):
        before(*caught[0])


def never_through_a_link(path: str, flags: int) -> int:
    """An ``opener`` for files of a run, which may come from a stranger."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if os.path.islink(path):
            raise InputError(f"{path}: it is a link, which is not written through") from error
        if error.errno != errno.ENXIO:
            raise
        # What it says of a pipe that nobody reads.
        raise InputError(f"{path}: it is no ordinary file") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: it is no ordinary file")
    return descriptor


def open_regular(path: PathLike) -> IO[bytes]:
    """A file to read, open; InputError if it is none, as a pipe, on which one could wait for ever.

    Of a run that may come from a stranger. Other errors are those of ``open``.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: it is no ordinary file")
    return open(descriptor, "rb")


def lock(directory: Path, message: str = TRAINING, wait: bool = False) -> TextIO:
    """An open file that holds the directory's lock; it ends with the process at the latest.

    If another process holds it, waits until it does not, or raises InputError with the ``message``.
    Where the file system has no locks, one line on stderr says so, once, and the file holds none.
    """
    file = open(directory / LOCK, "a", opener=never_through_a_link)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in NO_LOCKS:
            _warn_of_no_locks(directory)
            return file
        file.close()
        if error.errno not in HELD:
            raise
        raise InputError(f"{directory}: {message}") from error
    return file


@lru_cache(maxsize=None)
def _warn_of_no_locks(directory):
    say(
        f"{directory}: this file system has no locks, so make sure yourself that no other process "
        "writes there",
        err=True,
    )


def read_text(path: Path, name: str, limit: int) -> str:
    """The text of the file ``name`` in the run ``path``, of at most ``limit`` bytes."""
    with open_regular(inside(path, path / name)) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InputError(f"{path / name}: it is larger than {limit:,} bytes, which no run's is")
    return content.decode("utf-8")


def inside(path: Path, file: Path) -> Path:
    """``file``, unless it is a link that leads out of the run's directory ``path``."""
    try:
        real = file.resolve()
    except (OSError, RuntimeError) as error:
        # RuntimeError: of pathlib, for a link to itself.
        raise InputError(f"{file}: cannot be followed ({error})") from error
    if path.resolve() not in real.parents:
        raise InputError(f"{file}: it is a link that leads out of the run, to {real}")
    return file


def check_directory(path: PathLike) -> None:
    """Raise InputError unless ``path`` is, or can be made, a directory to write into.

    It makes nothing, so that it can come before the work whose results go there.
    """
    place = _existing(path)
    if not place.is_dir():
        raise InputError(f"{path}: cannot be made ({place} is no directory)")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be made or written (no permission in {place})")


def make_directory(path: PathLike) -> None:
    """Make the directory ``path``, with those above it, if it is not there yet.

    Raises InputError if files cannot be written into it.
    """
    check_directory(path)
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made ({error})") from error


def free_bytes(path: PathLike) -> Optional[int]:
    """How much room is left where ``path`` lies; None where the file system does not say."""
    try:
        usage = shutil.disk_usage(_existing(path))
    except OSError:
        return None
    return usage.free if usage.total else None


def free_memory(root: PathLike = "/") -> Optional[int]:
    """How many bytes of memory programs can still take; None where the system does not say.

    No more than the limit of the container leaves, where there is one. On macOS, which does not
    tell in a file, how many there are.
    """
    free = [left for left in (_left_of(Path(root, group)) for group in GROUPS) if left is not None]
    try:
        for line in Path(root, "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min([*free, int(line.split()[1]) * 1024])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return min([*free, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")])
    except (OSError, ValueError):
        return min(free, default=None)


def _left_of(group):
    """What the memory limit of a control group leaves, in bytes; None where there is none."""
    for most, used in (("memory.max", "memory.current"), V1_LIMIT):
        try:
            limit, taken = (int((group / name).read_text()) for name in (most, used))
        except (OSError, ValueError):
            continue  # No such file, or "max": no limit.
        with suppress(OSError, ValueError):
            stat_lines = (group / "memory.stat").read_text().splitlines()
            # Files that are only kept for the next who asks are given up first.
            kept = dict(line.split() for line in stat_lines)
            taken -= int(kept.get("total_inactive_file", kept.get("inactive_file", 0)))
        return max(0, limit - taken)
    return None


def check_memory(needed: int, what: str, instead: str = "take less of them") -> None:
    """Raise InputError unless there are so many bytes of memory for ``what``.

    Files may ask for any number; without this, the system would end the process, or another.
    """
    free = free_memory()
    if needed > 10**8 and free is not None and free < needed:
        raise InputError(
            f"{what} need about {megabytes(needed)} of memory, but only {megabytes(free)} are "
            f"free; {instead}"
        )


def megabytes(n: float) -> str:
    """``n`` bytes as a text, in MB."""
    return f"{n / 1e6:,.1f} MB"


def _existing(path):
    """``path``, or the nearest of the directories above it that is there."""
    path = Path(path)
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path
