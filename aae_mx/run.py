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
import shlex
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Tuple

import numpy as np

from aae_mx import __version__
from aae_mx.backend import mx
from aae_mx.config import Config
from aae_mx.data import load_dataset
from aae_mx.errors import ConfigError, InputError, option_name
from aae_mx.files import (
    LOCK,
    check_directory,
    free_bytes,
    inside,
    lock,
    megabytes,
    read_text,
    write_aside,
)
from aae_mx.model import AAE
from aae_mx.networks import n_parameters, optimized_networks, trained_parameters

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
# How the names of the optimizers' arrays begin in a checkpoint.
ADAM = "adam/"
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
        check_new(model.config, out)
        shape, n_labels = model.image_shape, len(model.classes)
        check_room(out or _default(model.config), [model.config], shape, n_labels, keep)
        try:
            path, new = _make_new(model.config, out)
            run = cls(path, keep)
        except OSError as error:
            where = out or _default(model.config)
            raise InputError(f"{where}: cannot be made a run's directory ({error})") from error
        # Again, now that no other process can write there.
        if set(os.listdir(path)) - {LOCK}:
            run._lock.close()
            raise _taken(path)
        try:
            (path / CHECKPOINTS).mkdir()
            if snapshots:
                (path / SNAPSHOTS).mkdir()
            run._describe(model, fingerprint)
        except BaseException as error:
            run._undo(new)
            if not isinstance(error, OSError):
                raise
            raise InputError(f"{path}: cannot be made a run's directory ({error})") from error
        return run

    def _undo(self, new):
        """Remove what ``create`` made, or the next call would take it for somebody's files."""
        with suppress(OSError):
            for name in (CHECKPOINTS, SNAPSHOTS):
                if (self.path / name).exists():
                    (self.path / name).rmdir()
            if new:
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        self._lock.close()

    @classmethod
    def reopen(cls, path, keep=2):
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

    def go_on(self, model, fingerprint, epoch):
        """Drop history and snapshots after ``epoch``; the settings may have changed."""
        rows = _read_rows(self.path) if epoch else []
        self.rows = [row for row in rows if float(row["epoch"]) <= epoch]
        for number, file in snapshots(self.path).items():
            if number > epoch:
                try:
                    file.unlink(missing_ok=True)
                except OSError as error:
                    raise InputError(f"{file}: cannot be removed ({error})") from error
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

    def save(self, position, model, optimizers=None):
        """Write a checkpoint of the state at ``position``, and remove those that are not kept.

        Without ``optimizers`` it is a slim one: the run can be used, but not go on.
        """
        arrays = {
            "epoch": np.array(position.epoch, np.int64),
            "step": np.array(position.step, np.int64),
            "sums": np.array(position.sums, np.float32),
            "seconds": np.array(position.seconds, np.float64),
        }
        arrays.update(model.weights())
        for name in optimized_networks(model) if optimizers else ():
            adam = optimizers[name]
            arrays[f"{ADAM}{name}/steps"] = np.array(adam.steps, np.int64)
            for key in adam.means:
                arrays[f"{ADAM}{name}/mean/{key}"] = adam.means[key].asnumpy()
                arrays[f"{ADAM}{name}/square/{key}"] = adam.squares[key].asnumpy()
        arrays["sha256"] = _digest(arrays)
        # In memory first: a full disk then meets a plain write, not the inside of a zip file.
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        name = f"checkpoint-{position.epoch:05}-{position.step:07}.npz"
        directory = inside(self.path, self.path / CHECKPOINTS)
        write_aside(directory / name, lambda file: file.write(buffer.getbuffer()))
        files = checkpoints(self.path)
        last = files.index(directory / name) + 1
        # Those after it were damaged: the run has gone back to one before them.
        for old in files[: max(0, last - self.keep)] + files[last:]:
            # A file that somebody holds open may stay, on some file systems; until the next time.
            with suppress(OSError):
                old.unlink(missing_ok=True)


def checkpoints(path):
    """The checkpoints of the run in the directory ``path``, oldest first."""
    return _files(Path(path, CHECKPOINTS), r"checkpoint-(\d{5,})-(\d{7,})\.npz")


def snapshots(path):
    """The snapshots of the run in the directory ``path``, {epoch: file} in order of epochs."""
    directory = Path(path, SNAPSHOTS)
    if directory.exists():
        inside(Path(path), directory)
    return {int(file.stem[6:]): file for file in _files(directory, r"epoch-(\d{5,})\.npy")}


def _files(directory, pattern):
    """The files of a directory with names of a pattern, in the order of the numbers in them.

    None if the directory is not there.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{directory}: cannot be read ({error})") from error
    found = filter(None, (re.fullmatch(pattern, name) for name in names))
    found = sorted(found, key=lambda match: [int(number) for number in match.groups()])
    return [directory / match[0] for match in found]


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


def load(path, ctx="cpu", skip_damaged=False):
    """The trained model of the run in the directory ``path``, an ``aae_mx.model.AAE``.

    ``ctx``: where to compute, whatever the run was trained on. ``skip_damaged``: where the last
    checkpoint is damaged, take the one before it. Raises InputError, naming the
    file, for a directory that holds no run and for files that are damaged or of another format.
    """
    model, _, position = read_run(path, {"ctx": ctx}, skip_damaged)
    if position is None:
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


def load_state(path, changes, build_optimizers, skip_damaged=False):
    """The model of a run, its optimizers and the Position of its last checkpoint, to go on.

    ``changes`` are settings to change in its Config. Without a checkpoint yet, all are as at
    the start. Raises as ``load`` does, and InputError for a run that was made slim.
    """
    model, arrays, position = read_run(path, changes, skip_damaged)
    if position is None:
        return model, build_optimizers(model), Position()
    if not any(name.startswith(ADAM) for name in arrays):
        raise InputError(
            f"{path}: its optimizer states were removed by aae_mx.slim, so it cannot go on; it can "
            "only be used, or trained anew"
        )
    optimizers = build_optimizers(model)
    for name in optimized_networks(model):
        adam = optimizers[name]
        adam.steps = int(arrays[f"{ADAM}{name}/steps"])
        for key in adam.means:
            adam.means[key][:] = mx.nd.array(arrays[f"{ADAM}{name}/mean/{key}"], ctx=model.ctx)
            adam.squares[key][:] = mx.nd.array(arrays[f"{ADAM}{name}/square/{key}"], ctx=model.ctx)
    return model, optimizers, position


def read_run(path, changes, skip_damaged=False):
    """The model of a run, the arrays of its last checkpoint and the Position where that is.

    Without a checkpoint the arrays are {} and the Position is None. Arguments as of
    ``load_state``. Raises as ``load`` does.
    """
    path = Path(path)
    description = read_description(path)
    config = dataclasses.replace(description["config"], **changes)
    shape, classes = description["image_shape"], description["classes"]
    try:
        weights = 4 * n_parameters(config, shape, len(classes))
    except ConfigError as error:
        raise InputError(f"{path / CONFIG}: {error}") from error
    files = checkpoints(path)
    short = {}
    for file in files:
        size = _size(path, file)
        if size < weights:
            short[file] = (
                f"{file}: it has {size:,} bytes, but the networks of {CONFIG} need {weights:,}"
            )
    # Before networks are made, of the size that a damaged config.json may ask for.
    if files and len(short) == len(files):
        raise InputError(short[files[-1]])
    model = AAE(config, shape, classes)
    model.run = path
    if not files:
        return model, {}, None

    def read(file):
        if file in short:
            raise InputError(short[file])
        return _read_arrays(file, _expected_arrays(model))

    file = files[-1]
    try:
        arrays = read(file)
    except InputError as error:
        whole = _last_whole(files[:-1], read)
        if whole is None:
            raise
        if not skip_damaged:
            raise InputError(
                f"{error}; to go back to {whole[0].name}, which is whole: "
                f"{go_on_with(path, '--skip-damaged')}"
            ) from error
        file, arrays = whole
    model.set_weights(arrays)
    position = Position(
        int(arrays["epoch"]),
        int(arrays["step"]),
        tuple(arrays["sums"].tolist()),
        float(arrays["seconds"]),
    )
    if min(int(array) for array in arrays.values() if array.dtype == np.int64) < 0:
        raise InputError(f"{file}: it counts epochs or steps below 0")
    model.epoch = position.epoch
    return model, arrays, position


def _size(path, file):
    try:
        return inside(path, file).stat().st_size
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def _last_whole(files, read):
    """The last of the checkpoints that can be read, and its arrays; or None."""
    for file in reversed(files):
        try:
            return file, read(file)
        except InputError:
            pass
    return None


def go_on_with(path, *options):
    """The command that goes on with the run in the directory ``path``."""
    return " ".join(["python -m aae_mx.train --resume", shlex.quote(str(path)), *options])


def _expected_arrays(model):
    """What a checkpoint of the model holds, {name: (dtype, shape)}; a slim one none of ADAM."""
    expected = {
        "epoch": ("<i8", ()),
        "step": ("<i8", ()),
        "sums": ("<f4", (len(METRICS),)),
        "seconds": ("<f8", ()),
        "sha256": ("|u1", (32,)),
    }
    for name, parameter in model.parameters().items():
        expected[name] = ("<f4", parameter.shape)
    for name, network in optimized_networks(model).items():
        expected[f"{ADAM}{name}/steps"] = ("<i8", ())
        for key, parameter in trained_parameters(network).items():
            for state in ("mean", "square"):
                expected[f"{ADAM}{name}/{state}/{key}"] = ("<f4", parameter.shape)
    return expected


def _read_arrays(file, expected):
    """The arrays of a checkpoint, exactly those that are expected, with their check sum.

    Of a slim one, exactly those that are no optimizer's.
    """
    sizes = {name: _n_bytes(*of) for name, of in expected.items()}
    try:
        if file.stat().st_size > sum(sizes.values()) + MAX_HEADER_BYTES * (len(sizes) + 1):
            raise InputError(f"{file}: it is larger than a checkpoint of this run can be")
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if not any(name.startswith(ADAM) for name in members):
                expected = {n: of for n, of in expected.items() if not n.startswith(ADAM)}
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


def check_new(config, out=None):
    """Raise InputError unless ``Run.create`` can make a run in ``out``; nothing is made here.

    Data may take minutes to load, so this is for before.
    """
    path = _default(config).parent if out is None else Path(out)
    check_directory(path)
    if out is None or not path.exists():
        return
    try:
        there = set(os.listdir(path))
        if there - {LOCK}:
            if LOCK in there:
                # A process that is training there is named before what lies there is.
                lock(path).close()
            raise _taken(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be made a run's directory ({error})") from error


def check_room(path, configs, image_shape, n_labels, keep=2):
    """Raise InputError unless ``path`` has room for the checkpoints of trainings of ``configs``.

    ``keep``: how many of each stay; one more is being written.
    """
    sizes = [checkpoint_bytes(config, image_shape, n_labels) for config in configs]
    needed = sum(min(keep, config.epochs) * size for config, size in zip(configs, sizes))
    needed += max(sizes, default=0)
    free = free_bytes(path)
    if free is not None and free < needed:
        raise InputError(
            f"{path}: the checkpoints need about {megabytes(needed)}, but only {megabytes(free)} "
            "are free; make room or choose another --out"
        )


def checkpoint_bytes(config, image_shape, n_labels):
    """About the size of a checkpoint: the weights, and two numbers for each in every Adam."""
    # Encoder and decoder are about as large, so another Adam for one has as many as weights.
    copies = 4 if config.encoder_adam == "separate" else 3
    return copies * 4 * n_parameters(config, image_shape, n_labels)


def _default(config):
    """The directory of a run for which none was given."""
    return Path("runs") / config.name


def _taken(path):
    return InputError(f"{path}: it is not empty and is not overwritten; choose another --out")


def _make_new(config, out):
    """The directory ``out``, made if need be, and whether it is new.

    Without ``out``, the first of runs/NAME, runs/NAME-2, ... that can be made: two processes
    that start at once get one each.
    """
    if out is not None:
        path = Path(out)
        new = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        return path, new
    path = _default(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(2):
        try:
            path.mkdir()
            return path, True
        except FileExistsError:
            path = path.with_name(f"{config.name}-{number}")


def _cell(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)
