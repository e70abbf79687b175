import gzip
import hashlib
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import write_idx

from aae_mx.config import Config
from aae_mx.data import dataset as data
from aae_mx.errors import ConfigError, InputError


def test_mnist_is_the_canonical_one():
    sums = [
        hashlib.md5(gzip.open(data.MNIST_DIR / f"{name}.gz").read()).hexdigest()
        for name in data.IDX_FILES
    ]
    assert sums == [
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ]


def test_mnist_split():
    mnist = data.load_dataset(Config())
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    assert mnist.classes == tuple("0123456789")
    np.testing.assert_array_equal(mnist.train_labels[:5], [5, 0, 4, 1, 9])
    np.testing.assert_array_equal(mnist.test_labels[:5], [7, 2, 1, 0, 4])


def test_to_unit():
    pixels = data.to_unit(np.array([[[0, 51], [255, 102]]], np.uint8))
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, [[0, 0.2, 1, 0.4]])


def test_directory_with_and_without_gzip(idx_directory):
    dataset = data.load_dataset(Config(data_dir=str(idx_directory)))
    assert dataset.train_images.shape == (40, 6, 5) and dataset.image_shape == (6, 5)
    assert dataset.classes == ("0", "1", "2", "3")
    np.testing.assert_array_equal(dataset.test_labels, np.arange(20) % 4)


def test_limit(idx_directory):
    whole = data.load_dataset(Config(data_dir=str(idx_directory)))
    part = data.load_dataset(Config(data_dir=str(idx_directory), limit=30))
    np.testing.assert_array_equal(part.train_images, whole.train_images[:30])
    assert len(part.train_labels) == 30 and len(part.test_images) == 20


def test_missing_directory(tmp_path):
    with pytest.raises(InputError, match="nowhere: there is no such directory"):
        data.read_idx_directory(tmp_path / "nowhere")


@pytest.mark.parametrize("name", data.IDX_FILES)
def test_missing_file(idx_directory, name):
    for path in idx_directory.glob(name + "*"):
        path.unlink()
    with pytest.raises(InputError, match=f"neither {name}.gz nor {name} is there"):
        data.read_idx_directory(idx_directory)


def test_numbers_of_images_and_labels_differ(idx_directory):
    write_idx(idx_directory / "train-labels-idx1-ubyte", np.zeros(39))
    with pytest.raises(InputError, match="holds 40 images but .* holds 39 labels"):
        data.read_idx_directory(idx_directory)


def test_sizes_of_images_differ(idx_directory):
    write_idx(idx_directory / "t10k-images-idx3-ubyte.gz", np.zeros((20, 5, 5)))
    with pytest.raises(InputError, match="5 × 5 pixels, those of .* are 6 × 5"):
        data.read_idx_directory(idx_directory)


def test_no_images(idx_directory):
    write_idx(idx_directory / "train-images-idx3-ubyte.gz", np.zeros((0, 6, 5)))
    write_idx(idx_directory / "train-labels-idx1-ubyte", np.zeros(0))
    with pytest.raises(InputError, match="holds no pixels"):
        data.read_idx_directory(idx_directory)


HEADER = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2])


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x00\x00\x08\x01" + HEADER[4:] + bytes(8), "starts with 00000801, .* with 00000803"),
        (b"\x00\x00\x0d\x03" + HEADER[4:] + bytes(32), "starts with 00000d03"),
        (b"\x89PNG" + bytes(20), "starts with 89504e47"),
        (HEADER[:9], "ends inside its header"),
        (HEADER + bytes(7), "announces 8 bytes, but only 7 follow"),
        (HEADER + bytes(9), "more bytes follow than the 8"),
        (HEADER[:4] + b"\xff" * 12, "announces .* bytes, too many"),
        (HEADER[:4] + b"\x7f\xff\xff\xff\x00\x00\x00\x01\x00\x00\x00\x01", "but only 0 follow"),
    ],
)
def test_broken_idx(tmp_path, contents, message):
    path = tmp_path / "images"
    path.write_bytes(contents)
    with pytest.raises(InputError, match=message) as raised:
        data.read_idx(path, 3)
    assert str(path) in str(raised.value)
    zipped = tmp_path / "images.gz"
    zipped.write_bytes(gzip.compress(contents))
    with pytest.raises(InputError, match=message):
        data.read_idx(zipped, 3)


@pytest.mark.parametrize("keep", [5, 15, -5])
def test_truncated_or_damaged_gzip(tmp_path, keep):
    whole = gzip.compress(HEADER + bytes(8))
    path = tmp_path / "images.gz"
    path.write_bytes(whole[:keep])
    with pytest.raises(InputError, match="cannot be read"):
        data.read_idx(path, 3)


def test_not_gzip_at_all(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(HEADER + bytes(8))
    with pytest.raises(InputError, match="cannot be read"):
        data.read_idx(path, 3)


def test_fashion_mnist_of_debian():
    directory = "/usr/share/datasets/fashion-mnist"
    if shutil.os.path.isdir(directory):
        fashion = data.load_dataset(Config(data_dir=directory))
        assert fashion.train_images.shape == (60_000, 28, 28)
        assert Config(data_dir=directory).name == "gaussian_unsupervised_fashion-mnist"
    else:
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")


def openml(monkeypatch, **answer):
    import sklearn.datasets

    def fetch(name, **kwargs):
        if "error" in answer:
            raise answer["error"]
        return SimpleNamespace(**answer)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)


def test_openml(monkeypatch):
    pixels = np.arange(70 * 9).reshape(70, 9) % 17.0
    targets = np.array([str(i % 12) for i in range(70)], object)
    openml(monkeypatch, data=pixels, target=targets)
    dataset = data.load_dataset(Config(dataset="digits"))
    assert dataset.train_images.shape == (60, 3, 3) and dataset.test_images.shape == (10, 3, 3)
    assert dataset.train_images.max() == 255, "the largest value becomes 255"
    assert dataset.classes == tuple(map(str, range(12))), "in numerical order"
    again = data.load_dataset(Config(dataset="digits"))
    np.testing.assert_array_equal(dataset.test_images, again.test_images)
    # Every image has kept its label.
    for image, label in zip(dataset.test_images, dataset.test_labels):
        first = round(int(image[0, 0]) * 16 / 255)
        rows = np.flatnonzero(pixels[:, 0] == first)
        assert dataset.classes[label] in targets[rows]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"error": OSError("no route to host\nmore")}, r"cannot be fetched .*\(no route to host\)"),
        ({"error": ValueError("No known active dataset")}, "cannot be fetched"),
        ({"data": np.ones((5, 8)), "target": np.zeros(5)}, "8 features"),
        ({"data": np.ones((5, 9)), "target": None}, "no label"),
        ({"data": np.array([["a"] * 9]), "target": np.zeros(1)}, "are not pixels"),
        ({"data": -np.ones((5, 9)), "target": np.zeros(5)}, "are not pixels"),
        ({"data": np.full((5, 9), np.nan), "target": np.zeros(5)}, "are not pixels"),
    ],
)
def test_openml_refused(monkeypatch, answer, message):
    openml(monkeypatch, **answer)
    with pytest.raises(InputError, match=message) as raised:
        data.load_dataset(Config(dataset="thing"))
    assert "'thing'" in str(raised.value) and "\n" not in str(raised.value)


def test_labelled_subset_is_balanced():
    labels = np.repeat(np.arange(4), [10, 20, 30, 40])
    chosen = data.labelled_subset(labels, 38, "0123", np.random.default_rng(0))
    assert chosen.shape == (100,) and chosen.sum() == 38
    assert sorted(np.bincount(labels[chosen])) == [9, 9, 10, 10]
    other = data.labelled_subset(labels, 38, "0123", np.random.default_rng(1))
    assert (chosen != other).any(), "the seed decides"


@pytest.mark.parametrize(
    ("n", "message"),
    [(101, "only 100 to train on"), (3, "at least 4"), (48, "class 0 has only 10")],
)
def test_labelled_subset_refused(n, message):
    labels = np.repeat(np.arange(4), [10, 20, 30, 40])
    with pytest.raises(ConfigError, match=message):
        data.labelled_subset(labels, n, "0123", np.random.default_rng(0))


@pytest.fixture
def idx_elsewhere(idx_directory, tmp_path_factory):
    """A function that copies the files of ``idx_directory`` under other names."""

    def copy(name, test="test", change=str, to=None):
        to = to or tmp_path_factory.mktemp("idx")
        for file in idx_directory.iterdir():
            part, of, kind, _ = file.name.split("-")
            there = name.format(part=test if part == "t10k" else part, kind=f"{of}-{kind}")
            array = data.read_idx(file, 3 if of == "images" else 1)
            write_idx(to / "plain", array)
            content = (to / "plain").read_bytes()
            there = change(there)
            zipped = there.lower().endswith(".gz")
            (to / there).write_bytes(gzip.compress(content) if zipped else content)
            (to / "plain").unlink()
        return to

    return copy


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("emnist-letters-{part}-{kind}-ubyte.gz", {}),
        ("{part}-{kind}-ubyte", {"change": lambda name: name.replace("s-idx", "s.idx")}),
        ("{part}-{kind}-ubyte.gz", {"test": "t10k", "change": str.upper}),
        ("{part}-{kind}-ubyte", {"test": "t10k", "change": str.title}),
    ],
)
def test_other_names_of_idx_files(idx_directory, idx_elsewhere, name, how):
    there = idx_elsewhere(name, **how)
    (there / "emnist-letters-mapping.txt").write_text("1 65 97\n")
    expected = data.read_idx_directory(idx_directory)
    assert data.read_idx_directory(there).fingerprint() == expected.fingerprint()


def test_names_of_idx_files_that_are_not_clear(idx_directory, idx_elsewhere):
    there = idx_elsewhere("emnist-letters-{part}-{kind}-ubyte.gz")
    idx_elsewhere("emnist-digits-{part}-{kind}-ubyte.gz", to=there)
    with pytest.raises(InputError, match="holds 2 sets of IDX files; .* .emnist-digits-test-im"):
        data.read_idx_directory(there)
    # MNIST's own names win.
    idx_elsewhere("{part}-{kind}-ubyte", test="t10k", to=there)
    data.read_idx_directory(there)
    (there / "t10k-labels-idx1-ubyte").unlink()
    for file in there.glob("*digits*"):
        file.unlink()
    data.read_idx_directory(there)
    (there / "emnist-letters-train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(InputError) as raised:
        data.read_idx_directory(there)
    assert "neither t10k-labels-idx1-ubyte.gz nor t10k-labels-idx1-ubyte is there" in str(
        raised.value
    )
    assert "look like IDX: emnist-letters-test-images-idx3-ubyte.gz, emnist-le" in str(raised.value)
    (there / "sub").mkdir()
    with pytest.raises(InputError, match="files there that look like IDX: none$"):
        data.read_idx_directory(there / "sub")


def test_transpose(idx_directory, idx_elsewhere, capsys):
    there = str(idx_elsewhere("emnist-letters-{part}-{kind}-ubyte.gz"))
    as_it_is = data.load_dataset(Config(data_dir=there))
    hint = capsys.readouterr().err
    assert "emnist-letters-train-images" in hint and "add --transpose" in hint
    assert hint.count("\n") == 1
    data.load_dataset(Config(data_dir=there), quiet=True)
    turned = data.load_dataset(Config(data_dir=there, transpose=True))
    data.load_dataset(Config(data_dir=str(idx_directory)))
    assert capsys.readouterr().err == "", "only where it is not clear"
    assert turned.image_shape == (5, 6)
    for part in ("train_images", "test_images"):
        np.testing.assert_array_equal(
            getattr(turned, part), getattr(as_it_is, part).transpose(0, 2, 1)
        )


@pytest.mark.parametrize("settings", [{}, {"dataset": "x"}, {"images": "x"}])
def test_transpose_is_for_idx_files(settings):
    with pytest.raises(ConfigError, match="transpose=True: it is for IDX files; name their dir"):
        Config(transpose=True, **settings)


def test_classes_are_those_that_occur(idx_directory):
    """Labels 1 to 26 are 26 classes, as EMNIST's letters; also if one is held out only."""
    write_idx(idx_directory / "train-labels-idx1-ubyte", 1 + np.arange(40) % 25)
    write_idx(idx_directory / "t10k-labels-idx1-ubyte", 7 + np.arange(20))
    whole = data.load_dataset(Config(data_dir=str(idx_directory)))
    assert whole.classes == tuple(str(label) for label in range(1, 27))
    np.testing.assert_array_equal(whole.train_labels, np.arange(40) % 25)
    np.testing.assert_array_equal(whole.test_labels, 6 + np.arange(20))
    assert data.load_dataset(Config(data_dir=str(idx_directory), limit=3)).classes == whole.classes
    with pytest.raises(ConfigError, match="class 26 has only 0 to train on"):
        data.labelled_subset(whole.train_labels, 26, whole.classes, np.random.default_rng(0))


def test_numbered():
    def classes(*names):
        labels, known = data.numbered(np.array(names))
        assert labels.dtype == np.int64
        assert [known[label] for label in labels] == [str(name) for name in names]
        return known

    assert classes(10, 2, 2, 1) == ("1", "2", "10")
    assert classes("b10", "b2", "a", "B", "10", "9", "") == ("", "9", "10", "B", "a", "b2", "b10")
    assert classes("1", "-1", "-10") == ("-10", "-1", "1")
    assert classes("01", "1", "1") == ("01", "1")


def test_labels_as_a_run_has_them():
    images = np.zeros((2, 3, 3), np.uint8)
    labels = np.array([0, 1])
    dataset = data.Dataset(images, labels, images, labels[::-1], ("a", "b"))
    more = dataset.with_classes(("b", "c", "a"))
    assert more.classes == ("b", "c", "a")
    np.testing.assert_array_equal(more.train_labels, [2, 0])
    np.testing.assert_array_equal(more.test_labels, [0, 2])
    assert dataset.with_classes(("b", "c")) is dataset, "it has others"
    none = dataset.with_classes(())
    assert none.classes == () and not none.train_labels.any()
    assert none.with_classes(("a",)) is none


def test_unreadable_directory(idx_directory, monkeypatch):
    def refuses(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(data.Path, "iterdir", refuses)
    with pytest.raises(InputError, match="cannot be read .Permission denied"):
        data.read_idx_directory(idx_directory)
