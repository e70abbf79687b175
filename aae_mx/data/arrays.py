"""Data in arrays: X and y in memory, or in files of NumPy."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np

from aae_mx.data.dataset import Dataset, numbered, on_disk, parts
from aae_mx.errors import ConfigError, InputError
from aae_mx.hints import Config, PathLike
from aae_mx.settings import IN_MEMORY
from aae_mx.text import printable, shortened

# The label of a row without one, as in scikit-learn.
UNKNOWN = -1
# The share of rows that is held out where there are no others for that, as for sets of OpenML.
HELD_OUT = 7
# Rows at once that are looked at for values that are not finite.
ROWS = 10_000


def from_arrays(
    X: Any,
    y: Any = None,
    X_test: Any = None,
    y_test: Any = None,
    shape: Optional[Sequence[int]] = None,
    feature_names: Optional[Sequence[str]] = None,
    hold_out: bool = False,
) -> Dataset:
    """The Dataset of arrays.

    ``X``: rows of numbers, (N, features); or images (N, height, width), or (N, height, width, 3).
    Bytes are pixels; other numbers may be any that are finite. A pandas.DataFrame gives the
    features their names. ``y``: (N,), a label of any type for each row, -1 where it is not known;
    ``shape``: that of a row, as (28, 28) for images that are rows of 784 numbers. ``X_test``,
    ``y_test``: held-out rows; without them, no row is held out, or with ``hold_out`` one of seven
    at random, always the same (the last ones of an array on the disk). What is on the disk
    (numpy.load with mmap_mode) stays there. Raises InputError for what is no such array.
    """
    names = _column_names(X) if feature_names is None else feature_names
    X = _rows(X, "X", shape)
    y = _labels(y, "y", len(X))
    if X_test is None:
        if y_test is not None:
            raise InputError("y_test: there is no X_test that it could be of")
        test, train = _held_out(X, y) if hold_out else (slice(0), slice(None))
        X, X_test = X[train], X[test]
        y, y_test = (None, None) if y is None else (y[train], y[test])
    else:
        X_test = _rows(X_test, "X_test", shape)
        if X_test.shape[1:] != X.shape[1:]:
            raise InputError(
                f"X_test: its rows are of shape {X_test.shape[1:]}, those of X of {X.shape[1:]}"
            )
        y_test = _labels(y_test, "y_test", len(X_test))
        if (y is None) != (y_test is None):
            lacking = "y" if y is None else "y_test"
            raise InputError(f"{lacking}: there is none; give labels for both, or for none")
        if y_test is not None and is_unknown(y_test).any():
            raise InputError(
                f"y_test: it has {UNKNOWN}, no label; held-out rows need one, to be measured"
            )
        if (X.dtype == np.uint8) != (X_test.dtype == np.uint8):
            raise InputError(
                f"X_test: values of type {X_test.dtype}, those of X are {X.dtype}; give both as "
                "bytes, or both as other numbers"
            )
    if not len(X):
        raise InputError("X: it holds no rows to train on")
    labels, classes = _together(y, y_test, len(X), len(X_test))
    names = _checked_names(names, X.shape[1:])
    n = len(X)
    return Dataset(X, labels[:n], X_test, labels[n:], classes, feature_names=names)


def _rows(X, name, shape):
    """X as a numeric array (N, *shape) of what the networks take: bytes or floats."""
    if hasattr(X, "toarray"):
        raise InputError(
            f"{name}: a sparse matrix; the networks take dense rows, so give {name}.toarray(), "
            "or fewer features (sklearn.decomposition.TruncatedSVD)"
        )
    try:
        X = np.asanyarray(X)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: it makes no array ({error})") from error
    if getattr(X, "mode", "r") == "c":
        # A private copy of a file, whose changes would be lost when its memory is given back.
        X = np.array(X)
    if X.dtype == object:
        try:
            X = X.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}: its values are not all numbers ({error})") from error
    if not (np.issubdtype(X.dtype, np.number) or X.dtype == bool) or X.dtype.kind == "c":
        raise InputError(f"{name}: values of type {X.dtype}; expected real numbers")
    if X.ndim < 2:
        raise InputError(f"{name}: an array of shape {X.shape}; expected rows, (N, features)")
    if shape is not None:
        shape, columns = tuple(shape), int(np.prod(X.shape[1:]))
        if int(np.prod(shape)) != columns:
            raise InputError(f"{name}: rows of {columns} values, which are not of shape {shape}")
        X = X.reshape(len(X), *shape)
    if X.ndim > 4 or (X.ndim == 4 and X.shape[3] != 3):
        raise InputError(
            f"{name}: an array of shape {X.shape}; expected (N, features), (N, height, width) or "
            "(N, height, width, 3)"
        )
    if not np.prod(X.shape[1:]):
        raise InputError(f"{name}: rows of shape {X.shape[1:]} hold no values")
    if X.dtype != np.uint8 and on_disk(X) is None:
        # Whole numbers and the like; float32 holds what networks can tell apart of most of them.
        X = X.astype(np.float32 if X.dtype in (np.float16, np.float32, bool) else np.float64)
    _check_finite(X, name)
    return X


def _check_finite(X, name):
    if X.dtype.kind != "f":
        return
    for i, part in enumerate(parts(X, ROWS)):
        bad = np.argwhere(~np.isfinite(part))
        if len(bad):
            row, *place = bad[0]
            where = ", ".join(map(str, (i * ROWS + row, *place)))
            raise InputError(
                f"{name}[{where}] is {part[tuple(bad[0])]}: expected finite numbers; leave such "
                "rows out, or fill them (sklearn.impute)"
            )


def _labels(y, name, n):
    """Labels as an array (n,) of their own type, with the integer UNKNOWN for none; or None."""
    if y is None:
        return None
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (n,):
        raise InputError(f"{name}: labels of shape {y.shape}; expected ({n},), one for each row")
    if y.dtype.kind == "f":
        if not np.isfinite(y).all() or (y != np.round(y)).any():
            bad = y[~np.isfinite(y) | (y != np.round(y))][0]
            raise InputError(
                f"{name}: the label {bad}; expected classes, as whole numbers or texts, and "
                f"{UNKNOWN} where there is none"
            )
        y = y.astype(np.int64)
    if y.dtype.kind == "O" and any(v is None or v != v for v in y):
        raise InputError(f"{name}: a label is missing; give {UNKNOWN} where there is none")
    if y.dtype.kind in "US" and (y == str(UNKNOWN)).any():
        raise InputError(
            f"{name}: the text '{UNKNOWN}' among labels; for rows without a label give an array of "
            f"dtype object with the number {UNKNOWN}"
        )
    if y.dtype.kind not in "iubUSO":
        raise InputError(f"{name}: labels of type {y.dtype}; expected whole numbers or texts")
    return y


def is_unknown(y: np.ndarray) -> np.ndarray:
    """Which labels of ``y`` (N,), of any type, say that there is none: bool (N,)."""
    if y.dtype.kind in "iu":
        return y == UNKNOWN
    if y.dtype.kind == "O":
        return np.array([isinstance(v, (int, np.integer)) and v == UNKNOWN for v in y], bool)
    return np.zeros(len(y), bool)


def _together(y, y_test, n, n_test):
    """The labels of both as positions, int64 (n + n_test,), UNKNOWN for none; and the classes."""
    if y is None:
        return np.zeros(n + n_test, np.int64), ()
    y = np.concatenate([y.astype(object), y_test.astype(object)])
    known = ~is_unknown(y)
    labels = np.full(len(y), UNKNOWN, np.int64)
    if not known.any():
        return np.zeros(len(y), np.int64), ()
    names = [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in y[known]]
    labels[known], classes = numbered(np.array(names))
    return labels, classes


def _held_out(X, y):
    """Which rows are held out, and which not: a seventh of them, or of those with a label."""
    rows = np.arange(len(X)) if y is None else np.flatnonzero(~is_unknown(y))
    n = max(1, len(rows) // HELD_OUT)
    if on_disk(X) is not None:
        # It stays where it is, so no other order is possible.
        if y is not None and len(rows) < len(X):
            raise InputError(
                f"y: it has {UNKNOWN}, rows without a label; then X_test and y_test are needed, "
                "as X is on the disk"
            )
        test, train = slice(len(X) - n, None), slice(len(X) - n)
        if y is not None and set(y[test].tolist()) - set(y[train].tolist()):
            raise InputError(
                "y: its last seventh, which would be held out, has labels that the others lack, so "
                "the rows seem to be sorted; shuffle them, or give X_test and y_test"
            )
        return test, train
    test = np.sort(np.random.default_rng(0).permutation(rows)[:n])
    train = np.ones(len(X), bool)
    train[test] = False
    return test, train


def _column_names(X):
    """The names of a table's columns, or None."""
    columns = getattr(X, "columns", None)
    return None if columns is None else [str(name) for name in columns]


def _checked_names(names, shape):
    if names is None or len(shape) > 1:
        return None
    names = tuple(map(str, names))
    if len(names) != shape[0]:
        raise InputError(f"feature_names: {len(names)} names for {shape[0]} features")
    return names


def settled(config: Config, dataset: Dataset) -> Config:
    """The Config with what it takes from arrays, if it is of some: ``shape`` and ``scale``.

    Raises ConfigError for what is for arrays only, where there are none.
    """
    if config.data is None and config.dataset != IN_MEMORY:
        for name in ("x_key", "y_key", "x_test_key", "y_test_key", "shape", "scale"):
            value = config.given.get(name)
            if value not in (None, "pixels"):
                what = "it is for arrays; give some by --data FILE.npz, or as dataset="
                raise ConfigError(name, value, what)
        return config
    found: dict[str, Any] = {"shape": dataset.image_shape}
    if "scale" not in config.given and dataset.train_images.dtype == np.uint8:
        found["scale"] = "pixels"
    return config.replace(**found)


def keys_of(config: Config) -> tuple[str, str, str, str]:
    """The names of the arrays X, y, X_test and y_test in files."""
    return config.x_key, config.y_key, config.x_test_key, config.y_test_key


def read_arrays(
    path: PathLike,
    keys: Sequence[str] = ("X", "y", "X_test", "y_test"),
    shape: Optional[Sequence[int]] = None,
    hold_out: bool = False,
) -> Dataset:
    """The Dataset of a file .npz or .npy, or of a directory of files .npy.

    ``keys``: the names of the arrays; the others as ``from_arrays``. Nothing is unpickled. Raises
    InputError for what cannot be read, and as ``from_arrays``.
    """
    path = Path(path)
    if path.is_dir():
        found = {key: path / f"{key}.npy" for key in keys if (path / f"{key}.npy").exists()}
        arrays = {key: _read_npy(file) for key, file in found.items()}
        there = sorted(file.stem for file in path.glob("*.npy"))
    elif not path.exists():
        raise InputError(f"{path}: there is no such file or directory")
    elif path.suffix == ".npy":
        arrays, there = {keys[0]: _read_npy(path)}, []
    elif path.suffix == ".npz":
        arrays, there = _read_npz(path, keys)
    else:
        raise InputError(f"{path}: expected a file .npz or .npy, or a directory of files .npy")
    if keys[0] not in arrays:
        shown = printable(shortened(", ".join(there), 200)) or "none"
        raise InputError(
            f"{path}: it has no array {keys[0]!r}; name the one with the rows by --x-key "
            f"(there: {shown})"
        )
    try:
        X, y, X_test, y_test = map(arrays.get, keys)
        return from_arrays(X, y, X_test, y_test, shape=shape, hold_out=hold_out)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read_npy(path):
    """An array that stays on the disk."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(f"{path}: cannot be read ({_why(error)})") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: it holds several arrays; such a file is called .npz")
    return array


def _read_npz(path, keys):
    """Those of the arrays ``keys`` that a file has, and the names of all."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in keys if key in file.files}, file.files
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({_why(error)})") from error
    except MemoryError as error:
        raise InputError(
            f"{path}: it is larger than memory; as a file .npy it can stay on the disk"
        ) from error


def _why(error):
    text = " ".join(str(error).split())
    if "allow_pickle" in text or "Python objects" in text:
        return "it holds Python objects, which are never loaded; save numbers and texts"
    return printable(shortened(text, 200)) or type(error).__name__
