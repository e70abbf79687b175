"""A run's directory: what a training leaves, and how it is read again.

    config.json      the settings and what the data look like; written before the first step
    history.csv      one row per epoch
    checkpoint.npz   weights and optimizer states after the last finished epoch
    train.log        what was shown while it trained
    figures/         made by ``plot``

Nothing here is ever unpickled: the checkpoint is read with ``allow_pickle=False``. Files are
written aside and renamed, so that a reader sees the old one or the new one, never half.
"""

from __future__ import annotations

import csv
import fcntl
import itertools
import json
import os
import signal
import threading
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from aae_mx import __version__
from aae_mx.backend import mx
from aae_mx.config import Config
from aae_mx.errors import ConfigError, InputError
from aae_mx.model import AAE
from aae_mx.networks import parameters

FORMAT = 1
CONFIG, HISTORY, CHECKPOINT, LOCK = "config.json", "history.csv", "checkpoint.npz", ".lock"


class Run:
    """A run's directory while it is being written. It is locked until the ``with`` ends."""

    def __init__(self, path):
        self.path = Path(path)
        self.rows = []
        self._lock = lock(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._lock.close()

    @classmethod
    def create(cls, config, out, model):
        """A new run in the directory ``out``, or one named after the config under runs/.

        Raises InputError if ``out`` exists and is not empty, or cannot be written.
        """
        path = _free_name(Path("runs") / config.name) if out is None else Path(out)
        taken = InputError(f"{path}: it is not empty and is not overwritten; choose another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
            # Nothing is left in a directory that is no run's, not even a lock.
            if any(path.iterdir()) and not (path / LOCK).exists():
                raise taken
            # A process that is training there is named before what lies there is.
            run = cls(path)
            if set(os.listdir(path)) - {LOCK}:
                run._lock.close()
                raise taken
        except OSError as error:
            raise InputError(f"{path}: cannot be made a run's directory ({error})") from error
        description = {
            "format": FORMAT,
            "version": __version__,
            "config": config.to_dict(),
            "image_shape": model.image_shape,
            "classes": model.classes,
        }
        write_aside(
            path / CONFIG,
            lambda file: file.write((json.dumps(description, indent=2) + "\n").encode()),
        )
        return run

    def save(self, epoch, row, model, optimizers):
        """Keep the state after ``epoch`` and add its row to the history."""
        arrays = {"epoch": np.array(epoch)}
        for name, network in model.networks.items():
            for key, parameter in parameters(network).items():
                arrays[f"{name}/{key}"] = parameter.data().asnumpy()
        for name, adam in optimizers.items():
            arrays[f"adam/{name}/steps"] = np.array(adam.steps)
            for key in adam.means:
                arrays[f"adam/{name}/mean/{key}"] = adam.means[key].asnumpy()
                arrays[f"adam/{name}/square/{key}"] = adam.squares[key].asnumpy()
        write_aside(self.path / CHECKPOINT, lambda file: np.savez(file, **arrays))
        self.rows.append(row)

        def write_history(file):
            lines = [",".join(row)] + [",".join(map(_cell, r.values())) for r in self.rows]
            file.write(("\n".join(lines) + "\n").encode())

        write_aside(self.path / HISTORY, write_history)


def load(path, ctx="cpu"):
    """The trained model of the run in the directory ``path``, an ``aae_mx.model.AAE``.

    ``ctx``: where to compute, whatever the run was trained on. Raises InputError, naming the
    file, for a directory that holds no run and for files that are damaged or of a newer format.
    """
    path = Path(path)
    model = read_model(path, ctx)
    model.run = path
    checkpoint = path / CHECKPOINT
    if not checkpoint.exists():
        raise InputError(f"{path}: the run has no {CHECKPOINT}; its first epoch did not finish")
    try:
        with np.load(checkpoint, allow_pickle=False) as arrays:
            for name, network in model.networks.items():
                for key, parameter in parameters(network).items():
                    values = arrays[f"{name}/{key}"]
                    if values.shape != parameter.shape or values.dtype != np.float32:
                        raise InputError(
                            f"{checkpoint}: {name}/{key} is {values.dtype} of shape "
                            f"{values.shape}, expected float32 of shape {parameter.shape}"
                        )
                    parameter.set_data(mx.nd.array(values, ctx=model.ctx))
    except KeyError as error:
        raise InputError(f"{checkpoint}: an array is missing ({error.args[0]})") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{checkpoint}: cannot be read ({error})") from error
    return model


def read_model(path, ctx="cpu"):
    """The model that a run's config.json describes, its weights as they were at the start."""
    file = Path(path) / CONFIG
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        if description["format"] > FORMAT:
            raise InputError(
                f"{file}: format {description['format']} of aae_mx {description['version']}; "
                f"this is aae_mx {__version__}, which reads up to format {FORMAT}"
            )
        shape, classes = description["image_shape"], description["classes"]
        if not (
            len(shape) == 2
            and all(isinstance(size, int) and 0 < size < 2**16 for size in shape)
            and classes
            and all(isinstance(name, str) for name in classes)
        ):
            raise InputError(f"{file}: its image_shape or classes are not what a run has")
        return AAE(Config.from_dict({**description["config"], "ctx": ctx}), shape, classes)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no run here ({CONFIG} is missing)") from error
    except ConfigError as error:
        raise InputError(f"{file}: {error}") from error
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{file}: {error.args[0]!r} is missing") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def read_history(path):
    """The history of a run: {column: list of floats}, one entry per finished epoch."""
    file = Path(path) / HISTORY
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else [])}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def write_aside(path, write):
    """Call ``write(file)`` on a binary file beside ``path``, then rename it to ``path``."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.tmp")
    with _uninterrupted():
        try:
            with open(aside, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise InputError(f"{path}: cannot be written ({error})") from error


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


def lock(directory):
    """An open file that holds the directory's lock; it ends with the process at the latest.

    Raises InputError if another process holds it.
    """
    file = open(directory / LOCK, "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise InputError(
            f"{directory}: another process is training there; wait for it or choose another --out"
        ) from error
    return file


def _free_name(path):
    """``path``, or the first of path-2, path-3, ... that does not exist."""
    others = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], others) if not name.exists())


def _cell(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)
