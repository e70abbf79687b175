"""A run's directory: what a training leaves, and how it is read again.

    config.json      the settings and what the data look like; written before the first step
    history.csv      one row per epoch
    checkpoints/     the last few: weights, optimizer states and how far the training was
    train.log        what was shown while it trained
    snapshots/       held-out codes after each epoch, if they were asked for
    figures/         made by ``plot``

Nothing here is ever unpickled, and nothing is believed: what a file announces is compared with
what the settings ask for before memory is taken for it. Files are written aside and renamed,
so that a reader sees the old one or the new one, never half.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import itertools
import json
import os
import re
import zipfile
from pathlib import Path
from typing import NamedTuple, Tuple

import numpy as np

from aae_mx import __version__
from aae_mx.backend import mx
from aae_mx.config import Config
from aae_mx.data import load_dataset
from aae_mx.errors import ConfigError, InputError, option_name
from aae_mx.files import LOCK, inside, lock, read_text, write_aside
from aae_mx.model import AAE
from aae_mx.networks import (
    n_parameters,
    optimized_networks,
    parameters,
    trained_parameters,
)

# Of config.json and the checkpoints; a new one when those of before would mean something else now.
FORMAT = 6
CONFIG, HISTORY, CHECKPOINTS = "config.json", "history.csv", "checkpoints"
# That the directory is there says that snapshots are kept, also when a run goes on. It is no
# setting, as it changes nothing of what is trained.
SNAPSHOTS = "snapshots"
# What each epoch's row of the history says of its training images.
METRICS = (
    "reconstruction_loss",
    "reconstruction_l2",
    "discriminator_entropy",
    "discriminator_accuracy",
    "generator_entropy",
    "generator_accuracy",
)
# More than this project ever writes: of the text files, and for the headers of an array in a
# checkpoint.
MAX_CONFIG_BYTES, MAX_HISTORY_BYTES, MAX_HEADER_BYTES = 10**6, 10**8, 1000


class Position(NamedTuple):
    """How far a training is: ``step`` batches into the epoch after ``epoch``."""

    epoch: int = 0
    step: int = 0
    sums: Tuple[float, ...] = (0.0,) * len(METRICS)  # over the images of those batches
    seconds: float = 0.0  # that those batches took


class Run:
    """A run's directory while it is being written. It is locked until the ``with`` ends.

    ``keep``: how many of the last checkpoints stay.
    """

    def __init__(self, path, keep):
        self.path, self.keep = Path(path), keep
        self.rows = []
        self._lock = lock(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._lock.close()

    @classmethod
    def create(cls, model, fingerprint, out=None, keep=2, snapshots=False):
        """A new run in the directory ``out``, or one named after the config under runs/.

        ``fingerprint``: of the data, see ``Dataset.fingerprint``. ``snapshots``: whether it keeps
        them. Raises InputError if ``out`` exists and is not empty, or cannot be written.
        """
        path = _free_name(Path("runs") / model.config.name) if out is None else Path(out)
        taken = InputError(f"{path}: it is not empty and is not overwritten; choose another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
            # Nothing is left in a directory that is no run's, not even a lock.
            if any(path.iterdir()) and not (path / LOCK).exists():
                raise taken
            # A process that is training there is named before what lies there is.
            run = cls(path, keep)
            if set(os.listdir(path)) - {LOCK}:
                run._lock.close()
                raise taken
            (path / CHECKPOINTS).mkdir()
            if snapshots:
                (path / SNAPSHOTS).mkdir()
        except OSError as error:
            raise InputError(f"{path}: cannot be made a run's directory ({error})") from error
        run._describe(model, fingerprint)
        return run

    @classmethod
    def reopen(cls, path, keep=2):
        """The run in the directory ``path``, locked, to go on with it.

        Raises InputError if another process is training there.
        """
        try:
            run = cls(path, keep)
            (run.path / CHECKPOINTS).mkdir(exist_ok=True)
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error})") from error
        return run

    def go_on(self, model, fingerprint, epoch):
        """Drop history and snapshots after ``epoch``; the settings may have changed."""
        rows = _read_rows(self.path) if epoch else []
        self.rows = [row for row in rows if float(row["epoch"]) <= epoch]
        for number, file in snapshots(self.path).items():
            if number > epoch:
                file.unlink(missing_ok=True)
        self._describe(model, fingerprint)

    def _describe(self, model, fingerprint):
        description = {
            "format": FORMAT,
            "version": __version__,
            "config": model.config.to_dict(),
            "image_shape": model.image_shape,
            "classes": model.classes,
            "data": fingerprint,
        }
        text = json.dumps(description, indent=2) + "\n"
        write_aside(self.path / CONFIG, lambda file: file.write(text.encode()))

    def add(self, row):
        """Add the row of an epoch to the history."""
        self.rows.append({name: _cell(value) for name, value in row.items()})
        lines = [",".join(row), *(",".join(cells.values()) for cells in self.rows)]
        write_aside(
            self.path / HISTORY, lambda file: file.write(("\n".join(lines) + "\n").encode())
        )

    def keep_snapshot(self, epoch, model, dataset):
        """Keep the model's codes of the held-out images after ``epoch``, if the run keeps any."""
        directory = self.path / SNAPSHOTS
        if directory.exists():
            codes = model.encode(dataset.test_images)
            name = f"epoch-{epoch:05}.npy"
            write_aside(inside(self.path, directory) / name, lambda file: np.save(file, codes))

    def save(self, position, model, optimizers):
        """Write a checkpoint of the state at ``position``, and remove those before the last."""
        arrays = {
            "epoch": np.array(position.epoch, np.int64),
            "step": np.array(position.step, np.int64),
            "sums": np.array(position.sums, np.float32),
            "seconds": np.array(position.seconds, np.float64),
        }
        for name, network in model.networks.items():
            for key, parameter in parameters(network).items():
                arrays[f"{name}/{key}"] = parameter.data().asnumpy()
        for name in optimized_networks(model):
            adam = optimizers[name]
            arrays[f"adam/{name}/steps"] = np.array(adam.steps, np.int64)
            for key in adam.means:
                arrays[f"adam/{name}/mean/{key}"] = adam.means[key].asnumpy()
                arrays[f"adam/{name}/square/{key}"] = adam.squares[key].asnumpy()
        arrays["sha256"] = _digest(arrays)
        # In memory first: a full disk then meets a plain write, not the inside of a zip file.
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        name = f"checkpoint-{position.epoch:05}-{position.step:07}.npz"
        directory = self.path / CHECKPOINTS
        write_aside(directory / name, lambda file: file.write(buffer.getbuffer()))
        for old in checkpoints(self.path)[: -self.keep]:
            old.unlink(missing_ok=True)


def checkpoints(path):
    """The checkpoints of the run in the directory ``path``, oldest first."""
    found = Path(path, CHECKPOINTS).glob("checkpoint-*.npz")
    return sorted(file for file in found if re.fullmatch(r"checkpoint-\d{5}-\d{7}", file.stem))


def snapshots(path):
    """The snapshots of the run in the directory ``path``, {epoch: file} in order of epochs."""
    directory = Path(path, SNAPSHOTS)
    if not directory.exists():
        return {}
    found = sorted(inside(Path(path), directory).glob("epoch-*.npy"))
    return {int(file.stem[6:]): file for file in found if re.fullmatch(r"epoch-\d{5}", file.stem)}


def read_snapshots(path, n, code_dim):
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
    size = _n_bytes("<f4", (n, code_dim))
    try:
        with open(inside(path, file), "rb") as stream:
            _check_header(stream, "<f4", (n, code_dim))
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


def finished_epochs(path):
    """How many epochs the last checkpoint of a run has behind it; 0 without one."""
    files = checkpoints(path)
    return int(files[-1].stem.split("-")[1]) if files else 0


def load(path, ctx="cpu"):
    """The trained model of the run in the directory ``path``, an ``aae_mx.model.AAE``.

    ``ctx``: where to compute, whatever the run was trained on. Raises InputError, naming the
    file, for a directory that holds no run and for files that are damaged or of another format.
    """
    model, arrays = _load(path, {"ctx": ctx})
    if not arrays:
        raise InputError(f"{path}: the run has no checkpoint; its first epoch did not finish")
    return model


def load_data(model, images=None, data_dir=None, quiet=False):
    """The Dataset that a trained model was trained on, with labels as the model has them.

    ``images`` or ``data_dir``: where it is now, if it has been moved. Raises ConfigError if that is
    of another kind than the run has, and InputError as ``load_dataset`` does, and if the data are
    not, or no longer, those of the run.
    """
    config = model.config.moved(images, data_dir)
    if model.run is None:
        return load_dataset(config, quiet).with_classes(model.classes)
    description = read_description(model.run)
    before, now = description["config"].place, config.place
    option = option_name("data_dir" if config.images is None else "images")
    if now is not None and not _holds_something(now) and now == before:
        raise InputError(
            f"{model.run}: the data are no longer in {now}; name the place where they are by "
            f"{option} DIR"
        )
    # What is to be said of IDX files was said when it was trained.
    dataset = load_dataset(config, quiet or config.images is None).with_classes(model.classes)
    if dataset.fingerprint() == description["data"]:
        return dataset
    trained_on = "those that it was trained on"
    if now != before:
        raise InputError(f"{model.run}: the data in {now} are not {trained_on}, then in {before}")
    changed = f": dataset {config.dataset}"
    if now is not None:
        changed = (
            f": something in {now} was added, removed or changed; undo that, or name an unchanged "
            f"copy by {option} DIR"
        )
    raise InputError(f"{model.run}: the data are no longer {trained_on}{changed}")


def _holds_something(directory):
    """Whether a directory is there; an empty one may be where a disk is missing."""
    try:
        return any(True for _ in os.scandir(directory))
    except NotADirectoryError:
        return True
    except OSError:
        return False


def load_state(path, changes, build_optimizers):
    """The model of a run, its optimizers and the Position of its last checkpoint, to go on.

    ``changes`` are settings to change in its Config. Without a checkpoint yet, all are as at
    the start. Raises as ``load`` does.
    """
    model, arrays = _load(path, changes)
    optimizers = build_optimizers(model)
    if not arrays:
        return model, optimizers, Position()
    for name in optimized_networks(model):
        adam = optimizers[name]
        adam.steps = int(arrays[f"adam/{name}/steps"])
        for key in adam.means:
            adam.means[key][:] = mx.nd.array(arrays[f"adam/{name}/mean/{key}"], ctx=model.ctx)
            adam.squares[key][:] = mx.nd.array(arrays[f"adam/{name}/square/{key}"], ctx=model.ctx)
    counts = [adam.steps for adam in optimizers.values()]
    if min(int(arrays["epoch"]), int(arrays["step"]), *counts) < 0:
        raise InputError(f"{checkpoints(path)[-1]}: it counts epochs or steps below 0")
    position = Position(
        int(arrays["epoch"]),
        int(arrays["step"]),
        tuple(arrays["sums"].tolist()),
        float(arrays["seconds"]),
    )
    return model, optimizers, position


def _load(path, changes):
    """The model of a run and the arrays of its last checkpoint, {} if it has none."""
    path = Path(path)
    description = read_description(path)
    config = dataclasses.replace(description["config"], **changes)
    shape, classes = description["image_shape"], description["classes"]
    try:
        weights = 4 * n_parameters(config, shape, len(classes))
    except ConfigError as error:
        raise InputError(f"{path / CONFIG}: {error}") from error
    files = checkpoints(path)
    if files:
        # Before networks are made, of the size that a damaged config.json may ask for.
        size = inside(path, files[-1]).stat().st_size
        if size < weights:
            raise InputError(
                f"{files[-1]}: it has {size:,} bytes, but the networks of {CONFIG} need {weights:,}"
            )
    model = AAE(config, shape, classes)
    model.run = path
    if not files:
        return model, {}
    try:
        arrays = _read_arrays(files[-1], _expected_arrays(model))
    except InputError as error:
        older = f"; to go back to {files[-2].name}, remove it" if files[1:] else ""
        raise InputError(f"{error}{older}") from error
    for name, network in model.networks.items():
        for key, parameter in parameters(network).items():
            parameter.set_data(mx.nd.array(arrays[f"{name}/{key}"], ctx=model.ctx))
    return model, arrays


def _expected_arrays(model):
    """What a checkpoint of the model holds: {name: (dtype, shape)}."""
    expected = {
        "epoch": ("<i8", ()),
        "step": ("<i8", ()),
        "sums": ("<f4", (len(METRICS),)),
        "seconds": ("<f8", ()),
        "sha256": ("|u1", (32,)),
    }
    for name, network in model.networks.items():
        for key, parameter in parameters(network).items():
            expected[f"{name}/{key}"] = ("<f4", parameter.shape)
    for name, network in optimized_networks(model).items():
        expected[f"adam/{name}/steps"] = ("<i8", ())
        for key, parameter in trained_parameters(network).items():
            for state in ("mean", "square"):
                expected[f"adam/{name}/{state}/{key}"] = ("<f4", parameter.shape)
    return expected


def _read_arrays(file, expected):
    """The arrays of a checkpoint, exactly those that are expected, with their check sum."""
    sizes = {name: _n_bytes(*of) for name, of in expected.items()}
    try:
        if file.stat().st_size > sum(sizes.values()) + MAX_HEADER_BYTES * (len(sizes) + 1):
            raise InputError(f"{file}: it is larger than a checkpoint of this run can be")
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            for name in sorted(set(members) ^ {f"{name}.npy" for name in expected}):
                what = "is not one of" if name in members else "is missing from"
                raise InputError(f"{file}: the array {name!r} {what} this run's")
            arrays = {}
            for name, (dtype, shape) in expected.items():
                info = members[f"{name}.npy"]
                if info.compress_type != zipfile.ZIP_STORED:
                    raise InputError(f"{file}: {name} is compressed, which a checkpoint is not")
                with archive.open(info) as stream:
                    _check_header(stream, dtype, shape)
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


def _n_bytes(dtype, shape):
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _check_header(stream, dtype, shape):
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


def read_description(path):
    """What config.json says: a dictionary with ``config`` (a Config), ``image_shape``, ``classes``
    and ``data``, the fingerprint of the data.

    Raises InputError, naming the file, if there is none, and for anything that is not so.
    """
    file = Path(path) / CONFIG
    try:
        text = read_text(Path(path), CONFIG, MAX_CONFIG_BYTES)
        description = json.loads(text)
        if description["format"] != FORMAT:
            raise InputError(
                f"{file}: format {description['format']} of aae_mx {description['version']}; "
                f"this is aae_mx {__version__}, which reads format {FORMAT}; train the run again"
            )
        shape, classes = description["image_shape"], description["classes"]
        if not (
            len(shape) in (2, 3)
            and all(isinstance(size, int) and 0 < size < 2**16 for size in shape)
            and shape[2:] in ([], [3])
            and isinstance(classes, list)
            and all(isinstance(name, str) for name in classes)
            and isinstance(description["data"], str)
        ):
            raise InputError(f"{file}: its image_shape, classes or data are not what a run has")
        config = Config.from_dict(description["config"])
        if not classes and config.labels != "none":
            raise InputError(f"{file}: it was trained with labels, but names no classes")
        return {**description, "config": config}
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no run here ({CONFIG} is missing)") from error
    except ConfigError as error:
        raise InputError(f"{file}: {error}") from error
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{file}: {error.args[0]!r} is missing") from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def read_history(path):
    """The history of a run: {column: list of floats}, one entry per finished epoch."""
    rows = _read_rows(path)
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else [])}


def _read_rows(path):
    """The rows of a run's history, {column: text}; every text is a number."""
    file = Path(path) / HISTORY
    try:
        text = read_text(Path(path), HISTORY, MAX_HISTORY_BYTES)
        rows = list(csv.DictReader(text.splitlines(), strict=True))
        for row in rows:
            if None in row or None in row.values():
                raise ValueError("a row has more or fewer columns than the first line")
            for cell in row.values():
                float(cell)
            row["epoch"]  # noqa: B018 - a KeyError if there is none
        return rows
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def _free_name(path):
    """``path``, or the first of path-2, path-3, ... that does not exist."""
    others = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], others) if not name.exists())


def _cell(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)
