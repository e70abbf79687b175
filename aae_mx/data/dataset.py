"""Images and labels: MNIST from the package, IDX files, folders, sets from OpenML, or arrays."""

from __future__ import annotations

import gzip
import hashlib
import math
import mmap
import os
import re
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence, Tuple

import numpy as np

from aae_mx.data.folder import read_folder, read_pictures
from aae_mx.errors import ConfigError, InputError
from aae_mx.files import check_memory
from aae_mx.hints import AAE, ArrayLike, Config, Generator, PathLike, Shape
from aae_mx.settings import IN_MEMORY
from aae_mx.text import printable, say

MNIST_DIR = Path(__file__).parent / "mnist"
IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
# As other data sets call them, emnist-letters-test-images-idx3-ubyte: what stands before, which
# part it is, and of what.
IDX_NAME = re.compile(
    r"(|.+[-_.])(train|t10k|test)[-_.](images|labels)[-_.]idx[13][-_.]ubyte", re.IGNORECASE
)
# An IDX header may announce anything; more than this is taken for a broken file.
MAX_IDX_BYTES = 2**32


@dataclass(frozen=True)
class Dataset:
    """Training and held-out images, uint8, with labels.

    Images are (N, height, width), or (N, height, width, 3) in colour; those of a folder are
    memory-mapped. Labels are int64 of shape (N,), positions in ``classes``, which holds the
    classes' names, and -1 for a training image without one; ``classes`` is empty for images without
    labels, and the labels are then 0. Of a folder, ``train_files`` and ``test_files`` are the
    images' paths in it, of shape (N,). Of arrays (data/arrays.py), images may also be other
    numbers than bytes, and rows of features, (N, features), which may have ``feature_names``.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: Tuple[str, ...]
    train_files: Optional[np.ndarray] = None
    test_files: Optional[np.ndarray] = None
    feature_names: Optional[Tuple[str, ...]] = None

    @classmethod
    def from_arrays(
        cls,
        X: ArrayLike,
        y: Optional[ArrayLike] = None,
        X_test: Optional[ArrayLike] = None,
        y_test: Optional[ArrayLike] = None,
        **how: Any,
    ) -> Dataset:
        """As ``data.arrays.from_arrays``: of rows or images in memory, and their labels."""
        from aae_mx.data.arrays import from_arrays

        return from_arrays(X, y, X_test, y_test, **how)

    @property
    def image_shape(self) -> Shape:
        """(height, width) of one image, or (height, width, 3); of rows (features,)."""
        return self.train_images.shape[1:]

    @property
    def noun(self) -> str:
        """What it is of: "images", or "rows" of features."""
        return noun(self.image_shape)

    def fingerprint(self) -> str:
        """A text that differs between two sets of data; a run that goes on needs the same."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr(array.shape).encode())
            if array.dtype not in (np.uint8, np.int64):
                digest.update(array.dtype.str.encode())
            for part in parts(array, 1000):
                digest.update(np.ascontiguousarray(part))  # type: ignore[arg-type]
                release_pages(array)
        return digest.hexdigest()

    def with_classes(self, classes: Sequence[str]) -> Dataset:
        """The same images with labels that are positions in ``classes``, the names of a run's.

        They may be more than occur, in another order, or none. As it is if there are others.
        """
        if not self.classes or (classes and not set(self.classes) <= set(classes)):
            return self
        # The last one for -1, no label.
        position = np.array([classes.index(name) if classes else 0 for name in self.classes] + [-1])
        return replace(
            self,
            train_labels=position[self.train_labels],
            test_labels=position[self.test_labels],
            classes=tuple(classes),
        )

    def kept_out(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The last ``n`` training images, of which those with a label, and their labels."""
        images, labels = self.train_images[-n:], self.train_labels[-n:]
        known = labels >= 0
        return (images, labels) if known.all() else (images[known], labels[known])

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels called ``train`` or ``test``."""
        if name == "train":
            return self.train_images, self.train_labels
        return self.test_images, self.test_labels


def parts(array: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The stretches of at most ``size`` rows of an array, one after another."""
    for start in range(0, len(array), size):
        check_whole(array)
        yield array[start : start + size]


def on_disk(array: Any) -> Optional[mmap.mmap]:
    """The file that an array is memory-mapped from, an mmap.mmap; or None."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) else None


def check_whole(array: Any) -> None:
    """Raise InputError if the file of a memory-mapped array was cut off since it was opened.

    To read what is gone would end the process (SIGBUS), without a line.
    """
    file = on_disk(array)
    if file is not None and file.size() < len(file):
        name = getattr(array, "filename", None) or "a memory-mapped file"
        raise InputError(
            f"{name}: it was cut off to {file.size():,} of {len(file):,} bytes while it was read; "
            "give it back its content, or start again"
        )


def release_pages(array: np.ndarray) -> None:
    """Let the system have back the memory of what was read from a memory-mapped array.

    Nothing is lost: what is read again comes from the file, or from the system's copy of it.
    """
    file = on_disk(array)
    if file is not None and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)


def to_unit(images: np.ndarray) -> np.ndarray:
    """Pixels as float32 in 0–1, one row per image: (N, height, width[, 3]) uint8 to (N, pixels)."""
    pixels = math.prod(images.shape[1:])
    return images.reshape(len(images), pixels).astype(np.float32) / np.float32(255)


def load_dataset(config: Config, quiet: bool = False) -> Dataset:
    """The Dataset that a Config names.

    A folder of images is decoded at its first use, which is shown on stderr unless ``quiet``.
    Raises InputError for files that are missing or broken and for a set that cannot be fetched.
    """
    if config.images is not None:
        data = _read_image_folder(config, quiet)
    elif config.data is not None:
        from aae_mx.data.arrays import keys_of, read_arrays

        hold_out = config.dataset != IN_MEMORY
        data = read_arrays(config.data, keys_of(config), config.shape, hold_out)
    elif config.data_dir is not None:
        data = read_idx_directory(config.data_dir, config.transpose, quiet, config.limit)
    elif config.dataset == IN_MEMORY:
        raise InputError(
            "the data were arrays in memory; save them (numpy.savez, X, y, X_test, y_test), and "
            "name the file by --data FILE.npz; in Python give them as dataset="
        )
    elif config.dataset == "mnist":
        data = read_idx_directory(MNIST_DIR, limit=config.limit)
    else:
        data = fetch_openml_images(config.dataset)
    if config.limit is not None:
        fields = ("images", "labels", "files")
        for name in [f"{part}_{field}" for part in ("train", "test") for field in fields]:
            if getattr(data, name) is not None:
                data = replace(data, **{name: getattr(data, name)[: config.limit]})
    return data


def load_others(
    model: AAE,
    images: Optional[PathLike] = None,
    data_dir: Optional[PathLike] = None,
    data: Optional[PathLike] = None,
) -> tuple[np.ndarray, Optional[np.ndarray], Optional[np.ndarray]]:
    """(images, labels, files): images that a trained model was not trained on, to encode them.

    All of the folder ``images``, in the shape of the model's, of the IDX files in ``data_dir``, or
    of the arrays in ``data``, by the names that the model's config has for them.
    ``labels``: int64 of shape (N,), positions in the model's classes; None if it has none, or the
    images have others. ``files``: (N,), their paths in the folder, else None. Raises InputError for
    what cannot be read and for another size.
    """
    if images is not None:
        if model.image_shape[0] != model.image_shape[1]:
            raise InputError(
                f"{images}: pictures are cut to squares, but the run's images are "
                f"{_size(model.image_shape)}"
            )
        pixels, names, files = read_pictures(images, model.image_shape)
        if names is None or not set(names) <= set(model.classes):
            return pixels, None, files
        return pixels, np.array([model.classes.index(name) for name in names]), files
    place: Any = data_dir if data is None else data
    if data is not None:
        from aae_mx.data.arrays import keys_of, read_arrays

        found = read_arrays(data, keys_of(model.config), model.image_shape)
    else:
        found = read_idx_directory(place, model.config.transpose)
    if found.image_shape != model.image_shape:
        raise InputError(
            f"{place}: its images are {_size(found.image_shape)}, those of the run "
            f"{_size(model.image_shape)}"
        )
    found = found.with_classes(model.classes)
    labels = np.concatenate([found.train_labels, found.test_labels])
    pixels = np.concatenate([found.train_images, found.test_images])
    known = model.classes and found.classes == model.classes and (labels >= 0).all()
    return pixels, labels if known else None, None


def _read_image_folder(config, quiet):
    images, names, n, files = read_folder(config.images, config.image_size, config.channels, quiet)
    labels, classes = np.zeros(len(images), np.int64), ()
    if names is not None and len(set(names)) > 1:
        labels, classes = numbered(names)
    return Dataset(
        images[:-n], labels[:-n], images[-n:], labels[-n:], classes, files[:-n], files[-n:]
    )


def numbered(names: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels, int64, and the classes that they are positions in, of class names of shape (N,).

    The classes are those that occur, in natural order: 2 stands before 10.
    """
    classes, labels = np.unique(names, return_inverse=True)
    shown = [str(name) for name in classes]
    order = sorted(range(len(shown)), key=lambda i: (_natural(shown[i]), shown[i]))
    return np.argsort(order)[labels.reshape(-1)], tuple(shown[i] for i in order)


def _natural(name):
    """The texts and numbers of ``name`` in turn; it starts with a text, which may be empty."""
    parts = re.split(r"(^-?[0-9]+|[0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def read_idx_directory(
    directory: PathLike, transpose: bool = False, quiet: bool = True, limit: Optional[int] = None
) -> Dataset:
    """The Dataset of a directory that holds MNIST's four files, or its likes, gzipped or not.

    ``transpose``: rows become columns, as EMNIST's images need it; unless ``quiet``, a line on
    stderr says so of files that are called so. ``limit``: only so many images of each part are
    read, but all labels, which say what classes there are.
    """
    directory = Path(directory)
    if not directory.is_dir():
        what = "there is no such directory of IDX files"
        if directory.exists():
            what = "it is a file; expected the directory (an archive unpacked) of four IDX files"
        raise InputError(f"{directory}: {what}")
    paths = _find_idx(directory)
    train_images, train_labels, test_images, test_labels = (
        read_idx(path, dimensions, limit if dimensions == 3 else None)
        for path, dimensions in zip(paths, (3, 1, 3, 1))
    )
    for images, labels, (images_path, labels_path) in (
        (train_images, train_labels, paths[:2]),
        (test_images, test_labels, paths[2:]),
    ):
        if len(images) != min(len(labels), limit or len(labels)):
            raise InputError(
                f"{images_path} holds {len(images)} images but {labels_path.name} holds "
                f"{len(labels)} labels; the two must belong together"
            )
        if not images.size:
            raise InputError(f"{images_path}: it holds no pixels")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise InputError(
            f"{paths[2]}: its images are {_size(test_images.shape[1:])}, those of {paths[0].name} "
            f"are {_size(train_images.shape[1:])}"
        )
    if transpose:
        train_images, test_images = (
            np.ascontiguousarray(images.transpose(0, 2, 1))
            for images in (train_images, test_images)
        )
    elif not quiet and "emnist" in paths[0].name.lower():
        say(
            f"{paths[0]}: EMNIST's images are stored with rows and columns exchanged; to see them "
            "upright, add --transpose",
            err=True,
        )
    labels, classes = numbered(np.concatenate([train_labels, test_labels]))
    n = len(train_labels)
    return Dataset(train_images, labels[:n], test_images, labels[n:], classes)


def _size(shape):
    if len(shape) == 1:
        return f"rows of {shape[0]} features"
    return "{} × {} pixels".format(*shape) + " in colour" * (len(shape) == 3)


def _find_idx(directory):
    """The paths of the four IDX files: those of MNIST's names, or the one set of such names."""
    try:
        # Of a file and the same one gzipped, the second is taken: it comes later.
        there = sorted(path for path in directory.iterdir() if path.is_file())
    except OSError as error:
        raise InputError(f"{directory}: cannot be read ({error.strerror})") from error
    plain = {_ungzipped(path): path for path in there}
    missing = [name for name in IDX_FILES if name not in plain]
    if not missing:
        return [plain[name] for name in IDX_FILES]
    sets = {}
    for name, path in plain.items():
        found = IDX_NAME.fullmatch(name)
        if found:
            before, part, kind = map(str.lower, found.groups())
            role = ("train" if part == "train" else "t10k", kind)
            sets.setdefault(before, {}).setdefault(role, []).append(path)
    roles = [(part, kind) for part in ("train", "t10k") for kind in ("images", "labels")]
    whole = [[x[role][0] for role in roles] for x in sets.values() if _one_each(x, roles)]
    if len(whole) == 1:
        return whole[0]
    like = [path.name for path in there if re.search("idx|ubyte", path.name, re.I)]
    shown = printable(", ".join(like[:12] + ["..."] * (len(like) > 12))) or "none"
    if len(whole) > 1:
        raise InputError(
            f"{directory}: it holds {len(whole)} sets of IDX files; put the four of one into a "
            f"directory of their own ({shown})"
        )
    raise InputError(
        f"{directory}: neither {missing[0]}.gz nor {missing[0]} is there, nor one set of four such "
        f"files as emnist-letters-test-images-idx3-ubyte; files there that look like IDX: {shown}"
    )


def _one_each(found, roles):
    return all(len(found.get(role, ())) == 1 for role in roles)


def _ungzipped(path):
    return path.name[:-3] if path.suffix.lower() == ".gz" else path.name


def read_idx(path: PathLike, dimensions: int, rows: Optional[int] = None) -> np.ndarray:
    """An array from an IDX file of unsigned bytes, gzipped if its name ends in .gz.

    Its first ``rows`` only, if it has more.

    The format (LeCun's MNIST page): two zero bytes, the type (8: unsigned byte), the number
    of dimensions, one big-endian 32-bit size per dimension, the values. Raises InputError,
    naming the file, for anything else; never reads more than the header announces.
    """
    path = Path(path)
    try:
        opener = gzip.open if path.suffix.lower() == ".gz" else open
        with opener(path, "rb") as file:
            header = file.read(4 + 4 * dimensions)
            magic = bytes([0, 0, 8, dimensions])
            if header[:4] != magic:
                raise InputError(
                    f"{path}: it starts with {header[:4].hex() or 'nothing'}, an IDX file of "
                    f"{dimensions}-dimensional bytes with {magic.hex()}"
                )
            if len(header) < 4 + 4 * dimensions:
                raise InputError(f"{path}: it ends inside its header")
            shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
            cut = rows is not None and rows < shape[0]
            shape = (min(shape[0], rows or shape[0]), *shape[1:])
            wanted = math.prod(shape)
            if wanted > MAX_IDX_BYTES:
                raise InputError(f"{path}: its header announces {wanted:,} bytes, too many")
            check_memory(wanted, f"{path}: its images", "read fewer by --limit")
            values = _read_at_most(file, wanted)
            surplus = 0 if cut else len(file.read(1))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if len(values) < wanted:
        raise InputError(
            f"{path}: its header announces {wanted:,} bytes, but only {len(values):,} follow; "
            "it was cut off"
        )
    if surplus:
        raise InputError(f"{path}: more bytes follow than the {wanted:,} its header announces")
    found = np.frombuffer(values, np.uint8).reshape(shape)
    found.flags.writeable = False
    return found


def _read_at_most(file, size):
    """Up to ``size`` bytes. Memory grows with what is there, not with what was announced."""
    values = bytearray()
    while len(values) < size:
        chunk = file.read(min(1 << 20, size - len(values)))
        if not chunk:
            break
        values += chunk
    return values


def fetch_openml_images(name: str) -> Dataset:
    """An image set of OpenML, fetched (and then kept) by scikit-learn's ``fetch_openml``.

    The images must be square and grey. Sets of 70,000 (MNIST, Fashion-MNIST, Kuzushiji-MNIST)
    are split 60,000 / 10,000 as published; of others a seventh is held out at random, the
    same one every time. Pixels are scaled so that the largest value becomes 255.
    """
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings():
            # It warns of every retry; the error says enough.
            warnings.simplefilter("ignore", UserWarning)
            fetched = fetch_openml(name, as_frame=False, parser="liac-arff")
    except Exception as error:  # noqa: B902 - what it raises depends on what fails in between
        raise InputError(
            f"dataset {name!r}: cannot be fetched from OpenML ({_first_line(error)}); check the "
            "name on openml.org and the network, or use --data-dir with files of your own"
        ) from error
    pixels, targets = fetched.data, fetched.target
    try:
        pixels = np.asarray(pixels, np.float64)
        side = math.isqrt(pixels.shape[1])
    except (TypeError, ValueError, IndexError) as error:
        raise InputError(f"dataset {name!r}: its features are not pixels ({error})") from error
    if side * side != pixels.shape[1] or side < 2 or targets is None:
        raise InputError(
            f"dataset {name!r}: it has {pixels.shape[1]} features and "
            f"{'no' if targets is None else 'a'} label; expected square grey images with labels"
        )
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() <= 0:
        raise InputError(f"dataset {name!r}: its values are not pixels (0 or more, not all 0)")
    images = np.rint(pixels * (255 / pixels.max())).astype(np.uint8).reshape(-1, side, side)
    labels, classes = numbered(np.asarray(targets).astype(str))
    order = np.arange(len(images))
    n_test = 10_000
    if len(images) != 70_000:
        np.random.default_rng(0).shuffle(order)
        n_test = max(1, len(images) // 7)
    train, test = order[:-n_test], order[-n_test:]
    return Dataset(images[train], labels[train], images[test], labels[test], classes)


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def noun(shape: Shape) -> str:
    """What data of such a shape are called: "images", or "rows" of features."""
    return "rows" if len(shape) == 1 else "images"


def labelled_subset(
    labels: np.ndarray, n: int, classes: Sequence[str], rng: Generator
) -> np.ndarray:
    """Choose ``n`` images to keep their labels, as many of each class.

    ``labels`` are the training labels, integers of shape (N,), positions in ``classes``, the names.
    Returns a boolean array of shape (N,). Where n is no multiple of the number of classes, classes
    drawn at random have one more. Raises ConfigError if a class would get none, or has too few.
    """
    n_classes = len(classes)
    if n > len(labels):
        raise ConfigError("labels", n, f"there are only {len(labels)} to train on")
    if n < n_classes:
        raise ConfigError(
            "labels", n, f"there are {n_classes} classes, so at least {n_classes} labels are needed"
        )
    wanted = np.full(n_classes, n // n_classes)
    wanted[rng.permutation(n_classes)[: n % n_classes]] += 1
    chosen = np.zeros(len(labels), bool)
    for label in range(n_classes):
        members = np.flatnonzero(labels == label)
        if len(members) < wanted[label]:
            raise ConfigError(
                "labels",
                n,
                f"as many of each class are needed, but class {classes[label]} has only "
                f"{len(members)} to train on",
            )
        chosen[rng.choice(members, wanted[label], replace=False)] = True
    return chosen


def holds_something(directory: PathLike) -> bool:
    """Whether a directory is there; an empty one may be where a disk is missing."""
    try:
        return any(True for _ in os.scandir(directory))
    except NotADirectoryError:
        return True
    except OSError:
        return False
