"""Images and labels: MNIST from the package, IDX files, folders of images, sets from OpenML."""

from __future__ import annotations

import gzip
import hashlib
import math
import mmap
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

import numpy as np

from aae_mx.errors import ConfigError, InputError
from aae_mx.folder import read_folder

MNIST_DIR = Path(__file__).parent / "mnist"
IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
# An IDX header may announce anything; more than this is taken for a broken file.
MAX_IDX_BYTES = 2**32


@dataclass(frozen=True)
class Dataset:
    """Training and held-out images, uint8, with labels.

    Images are (N, height, width), or (N, height, width, 3) in colour; those of a folder are
    memory-mapped. Labels are int64 of shape (N,), positions in ``classes``, which holds the
    classes' names; it is empty for images without labels, and the labels are then 0.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: Tuple[str, ...]

    @property
    def image_shape(self):
        """(height, width) of one image, or (height, width, 3)."""
        return self.train_images.shape[1:]

    def fingerprint(self):
        """A text that differs between two sets of data; a run that goes on needs the same."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr(array.shape).encode())
            for part in parts(array, 1000):
                digest.update(np.ascontiguousarray(part))
                release_pages(array)
        return digest.hexdigest()

    def split(self, name):
        """The images and labels called ``train`` or ``test``."""
        if name == "train":
            return self.train_images, self.train_labels
        return self.test_images, self.test_labels


def parts(array, size):
    """The stretches of at most ``size`` rows of an array, one after another."""
    for start in range(0, len(array), size):
        yield array[start : start + size]


def release_pages(array):
    """Let the system have back the memory of what was read from a memory-mapped array.

    Nothing is lost: what is read again comes from the file, or from the system's copy of it.
    """
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)


def to_unit(images):
    """Pixels as float32 in 0–1, one row per image: (N, height, width[, 3]) uint8 to (N, pixels)."""
    pixels = math.prod(images.shape[1:])
    return images.reshape(len(images), pixels).astype(np.float32) / np.float32(255)


def load_dataset(config, quiet=False):
    """The Dataset that a Config names.

    A folder of images is decoded at its first use, which is shown on stderr unless ``quiet``.
    Raises InputError for files that are missing or broken and for a set that cannot be fetched,
    and ConfigError if the config asks for more labelled images than there are.
    """
    if config.data_dir is not None:
        data = read_idx_directory(config.data_dir)
    elif config.images is not None:
        images, labels, n, classes = read_folder(
            config.images, config.image_size, config.channels, quiet
        )
        data = Dataset(images[:-n], labels[:-n], images[-n:], labels[-n:], classes)
    elif config.dataset == "mnist":
        data = read_idx_directory(MNIST_DIR)
    else:
        data = fetch_openml_images(config.dataset)
    if config.limit is not None:
        data = Dataset(
            data.train_images[: config.limit],
            data.train_labels[: config.limit],
            data.test_images[: config.limit],
            data.test_labels[: config.limit],
            data.classes,
        )
    return data


def read_idx_directory(directory):
    """The Dataset of a directory that holds MNIST's four files, gzipped or not."""
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: there is no such directory of IDX files")
    paths = [_find_idx(directory, name) for name in IDX_FILES]
    train_images, train_labels, test_images, test_labels = (
        read_idx(path, 3 if "images" in path.name else 1) for path in paths
    )
    for images, labels, (images_path, labels_path) in (
        (train_images, train_labels, paths[:2]),
        (test_images, test_labels, paths[2:]),
    ):
        if len(images) != len(labels):
            raise InputError(
                f"{images_path} holds {len(images)} images but {labels_path.name} holds "
                f"{len(labels)} labels; the two must belong together"
            )
        if not images.size:
            raise InputError(f"{images_path}: it holds no pixels")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise InputError(
            f"{paths[2]}: its images are {_size(test_images)} pixels, those of {paths[0].name} "
            f"are {_size(train_images)}"
        )
    n_labels = int(max(train_labels.max(), test_labels.max())) + 1
    return Dataset(
        train_images,
        train_labels.astype(np.int64),
        test_images,
        test_labels.astype(np.int64),
        tuple(str(label) for label in range(n_labels)),
    )


def _size(images):
    return "{} × {}".format(*images.shape[1:])


def _find_idx(directory, name):
    for path in (directory / (name + ".gz"), directory / name):
        if path.is_file():
            return path
    raise InputError(f"{directory}: neither {name}.gz nor {name} is there")


def read_idx(path, dimensions):
    """An array from an IDX file of unsigned bytes, gzipped if its name ends in .gz.

    The format (LeCun's MNIST page): two zero bytes, the type (8: unsigned byte), the number
    of dimensions, one big-endian 32-bit size per dimension, the values. Raises InputError,
    naming the file, for anything else; never reads more than the header announces.
    """
    path = Path(path)
    try:
        opener = gzip.open if path.suffix == ".gz" else open
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
            wanted = math.prod(shape)
            if wanted > MAX_IDX_BYTES:
                raise InputError(f"{path}: its header announces {wanted:,} bytes, too many")
            values = _read_at_most(file, wanted)
            surplus = len(file.read(1))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if len(values) < wanted:
        raise InputError(
            f"{path}: its header announces {wanted:,} bytes, but only {len(values):,} follow; "
            "it was cut off"
        )
    if surplus:
        raise InputError(f"{path}: more bytes follow than the {wanted:,} its header announces")
    return np.frombuffer(bytes(values), np.uint8).reshape(shape)


def _read_at_most(file, size):
    """Up to ``size`` bytes. Memory grows with what is there, not with what was announced."""
    values = bytearray()
    while len(values) < size:
        chunk = file.read(min(1 << 20, size - len(values)))
        if not chunk:
            break
        values += chunk
    return values


def fetch_openml_images(name):
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
    targets = np.asarray(targets).astype(str)
    classes = set(targets.tolist())
    classes = sorted(classes, key=int if all(map(str.isdigit, classes)) else None)
    position = {name: label for label, name in enumerate(classes)}
    labels = np.array([position[target] for target in targets], np.int64)
    order = np.arange(len(images))
    n_test = 10_000
    if len(images) != 70_000:
        np.random.default_rng(0).shuffle(order)
        n_test = max(1, len(images) // 7)
    train, test = order[:-n_test], order[-n_test:]
    return Dataset(images[train], labels[train], images[test], labels[test], tuple(classes))


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def labelled_subset(labels, n, n_classes, rng):
    """Choose ``n`` images to keep their labels, as many of each class.

    ``labels`` are the training labels, integers of shape (N,). Returns a boolean array of
    shape (N,). Where n is no multiple of the number of classes, classes drawn at random have
    one more. Raises ConfigError if a class would get none, or has too few.
    """
    if n > len(labels):
        raise ConfigError("labels", n, f"there are only {len(labels)} training images")
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
                f"as many of each class are needed, but class {label} has only "
                f"{len(members)} training images",
            )
        chosen[rng.choice(members, wanted[label], replace=False)] = True
    return chosen
