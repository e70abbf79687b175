"""Files that outlive a crash and are not trusted: written aside, locked, read within limits."""

import fcntl
import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

from aae_mx.errors import InputError

LOCK = ".lock"
TRAINING = "another process is training there; wait for it or choose another --out"


def write_aside(path, write):
    """Call ``write(file)`` on a binary file beside ``path``, then rename it to ``path``."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.tmp")
    with _uninterrupted():
        try:
            # What an interrupted process left there, or a link, is not written through.
            aside.unlink(missing_ok=True)
            with open(aside, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            _flush_directory(path.parent)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise InputError(f"{path}: cannot be written ({error})") from error


def _flush_directory(path):
    """Make a renaming in the directory last through a loss of power."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
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


def never_through_a_link(path, flags):
    """An ``opener`` for files of a run, which may come from a stranger."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def lock(directory, message=TRAINING, wait=False):
    """An open file that holds the directory's lock; it ends with the process at the latest.

    If another process holds it, waits until it does not, or raises InputError with the ``message``.
    """
    file = open(directory / LOCK, "a", opener=never_through_a_link)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        file.close()
        raise InputError(f"{directory}: {message}") from error
    return file


def read_text(path, name, limit):
    """The text of the file ``name`` in the run ``path``, of at most ``limit`` bytes."""
    with open(inside(path, path / name), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InputError(f"{path / name}: it is larger than {limit:,} bytes, which no run's is")
    return content.decode("utf-8")


def inside(path, file):
    """``file``, unless it is a link that leads out of the run's directory ``path``."""
    real = file.resolve()
    if path.resolve() not in real.parents:
        raise InputError(f"{file}: it is a link that leads out of the run, to {real}")
    return file
