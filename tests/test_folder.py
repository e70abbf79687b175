import json
import os
import resource
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import small_config
from PIL import Image

from aae_mx import folder as folders
from aae_mx.config import Config
from aae_mx.data import load_dataset
from aae_mx.errors import ConfigError, InputError
from aae_mx.files import lock


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache directory of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "aae_mx"


@pytest.fixture
def flat(tmp_path):
    """A flat folder of 20 one-coloured images of several sizes and kinds."""
    path = tmp_path / "flat"
    path.mkdir()
    for i in range(20):
        image = Image.new("RGB", (40 + i, 70 - i), (10 * i, 100, 200))
        image.save(path / (f"{i:02}.png" if i % 2 else f"{i:02}.JPG"), format=None, quality=95)
    return path


def read(path, **settings):
    return load_dataset(Config(**{"images": str(path), "image_size": 32, **settings}))


def test_flat_folder(flat):
    data = read(flat)
    assert data.train_images.shape == (18, 32, 32, 3) and data.test_images.shape == (2, 32, 32, 3)
    assert data.image_shape == (32, 32, 3) and data.classes == ()
    assert not data.train_labels.any()
    every = np.concatenate([data.train_images, data.test_images])
    # Each image once, in its colour, in a random order (JPEG is not exact).
    reds = every[:, 16, 16, 0].astype(int)
    assert np.abs(np.sort(reds) - 10 * np.arange(20)).max() <= 2 and (np.diff(reds) < 0).any()
    assert np.abs(every - np.array([0, 100, 200]))[..., 1:].max() <= 2
    grey = read(flat, channels="grey", image_size=64)
    assert grey.train_images.shape == (18, 64, 64)
    assert read(flat, limit=3).train_images.shape == (3, 32, 32, 3)


def test_class_folders(tmp_path):
    for name, colour, n in (("cats", 50, 6), ("dogs", 200, 8), ("empty", 0, 0)):
        (tmp_path / "pets" / name / "deep").mkdir(parents=True)
        for i in range(n):
            place = f"pets/{name}/deep/{i}.png" if i % 2 else f"pets/{name}/{i}.png"
            Image.new("L", (32, 32), colour).save(tmp_path / place)
    data = read(tmp_path / "pets")
    assert data.classes == ("cats", "dogs") and len(data.train_labels) == 13
    for images, labels in (data.split("train"), data.split("test")):
        np.testing.assert_array_equal(images[:, 0, 0, 0], np.array([50, 200])[labels])


def test_middle_square_is_resized(tmp_path):
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 32:96] = [255, 0, 0]
    picture[:32, 32:96] = [0, 255, 0]
    Image.fromarray(picture).save(tmp_path / "wide.png")
    decoded = folders.decode(tmp_path / "wide.png", (32, 32, 3))
    assert (decoded[:12] == [0, 255, 0]).all() and (decoded[20:] == [255, 0, 0]).all()


def test_kinds_of_png(tmp_path):
    """Transparent is white, 16 bits are scaled, a palette has its colours, a photo its turn."""

    def decoded(image, shape=(28, 28, 3), **how):
        image.save(tmp_path / "image.png", **how)
        return folders.decode(tmp_path / "image.png", shape)

    assert (decoded(Image.new("RGBA", (30, 30), (255, 0, 0, 0))) == 255).all()
    half = decoded(Image.new("RGBA", (30, 30), (255, 0, 0, 128)))
    assert (np.abs(half.astype(int) - [255, 127, 127]) <= 1).all()
    assert (decoded(Image.new("LA", (30, 30), (0, 0)), (28, 28)) == 255).all()
    assert (decoded(Image.new("1", (30, 30), 1), (28, 28)) == 255).all()
    deep = Image.fromarray(np.full((30, 30), 0x8000, np.uint16))
    assert (decoded(deep, (28, 28)) == 0x80).all()
    palette = Image.new("P", (30, 30), 3)
    palette.putpalette([0] * 9 + [1, 2, 3])
    assert (decoded(palette) == [1, 2, 3]).all()
    assert (decoded(palette, transparency=3) == 255).all()
    upside_down = Image.fromarray(np.repeat(np.uint8([0, 255]), 450).reshape(30, 30))
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = decoded(upside_down, (28, 28), exif=exif)
    assert (turned[:12] == 255).all() and (turned[-12:] == 0).all()


BROKEN = {
    "empty.png": b"",
    "text.jpg": b"not an image\n",
    "head.png": b"\x89PNG\r\n\x1a\n" + bytes(30),
}


def test_unreadable_files_are_skipped_and_listed(flat, capsys):
    for name, content in BROKEN.items():
        (flat / name).write_bytes(content)
    whole = (flat / "01.png").read_bytes()
    (flat / "cut.png").write_bytes(whole[: len(whole) // 2])
    (flat / "gif.png").write_bytes(b"GIF89a" + bytes(100))
    (flat / "notes.txt").write_text("not looked at")
    (flat / ".hidden.png").write_text("nor this")
    data = read(flat)
    assert len(data.train_images) + len(data.test_images) == 20
    lines = capsys.readouterr().err.splitlines()
    assert "decoding 25 images into " in lines[0] and "(0.1 MB)" in lines[0]
    skipped = {line.split()[1] for line in lines[1:-1]}
    assert skipped == {f"{name}:" for name in (*BROKEN, "cut.png", "gif.png")}
    assert lines[-1] == "5 of 25 files cannot be read and are left out"
    again = read(flat)
    assert capsys.readouterr().err == "", "the second time, all is in the cache"
    np.testing.assert_array_equal(again.train_images, data.train_images)
    assert again.fingerprint() == data.fingerprint()


def test_image_bombs_are_skipped(flat, monkeypatch, capsys):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    with pytest.raises(InputError, match="0 of 1 files can be read"):
        path = flat.parent / "bombs"
        path.mkdir()
        Image.new("L", (60, 60)).save(path / "large.png")
        read(path)


def test_many_unreadable_files_are_not_all_shown(flat, capsys):
    for i in range(30):
        (flat / f"broken{i}.png").write_bytes(b"")
    read(flat)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 23 and "... and 10 more, see " in lines[-2]
    description = json.loads(open(lines[-2].split()[-1]).read())
    assert len(description["skipped"]) == 30


def test_folders_that_hold_nothing(tmp_path, flat):
    with pytest.raises(InputError, match="nowhere: the folder cannot be read .No such file"):
        read(tmp_path / "nowhere")
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="void: there are no .png, .jpg, .jpeg files in it"):
        read(tmp_path / "void")
    for name in ("a.png", "b.png"):
        (tmp_path / "void" / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"void: 0 of 2 files can be read, .* \([ab].png: "):
        read(tmp_path / "void")
    (flat / "more").mkdir()
    Image.new("L", (9, 9)).save(flat / "more" / "one.png")
    with pytest.raises(InputError, match="flat: it holds images and sub-folders with images"):
        read(flat)


def cached(cache):
    return sorted(path.name for path in cache.glob("*/[!.]*"))


def test_cache_follows_the_folder(flat, cache):
    first = read(flat).fingerprint()
    names = cached(cache)
    assert len(names) == 2
    os.utime(flat / "00.JPG", (1, 1))
    assert read(flat).fingerprint() == first and cached(cache) != names and len(cached(cache)) == 2
    Image.new("RGB", (50, 50)).save(flat / "00.JPG")
    assert read(flat).fingerprint() != first and len(cached(cache)) == 2
    read(flat, channels="grey")
    assert len(cached(cache)) == 4, "each size and channels have their own"


@pytest.mark.parametrize("damage", ["pixels", "description", "listing"])
def test_damaged_cache_is_made_anew(flat, cache, damage):
    first = read(flat).fingerprint()
    pixels, description = (next(cache.glob(f"*/*.{end}")) for end in ("uint8", "json"))
    if damage == "pixels":
        os.truncate(pixels, 100)
    elif damage == "description":
        description.write_bytes(b"\xff{")
    else:
        description.write_text('{"skipped": 7}')
    assert read(flat).fingerprint() == first


def test_one_process_at_a_time_decodes(flat, cache):
    read(flat)
    next(cache.glob("*/*.json")).unlink()
    with lock(next(cache.iterdir())):
        with pytest.raises(InputError, match="another process is decoding images there"):
            read(flat)
    read(flat)


def test_cache_that_cannot_be_written(flat, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot be kept there .Not a directory.; set XDG_CACHE"):
        read(flat)


def test_full_disk_leaves_nothing_behind(flat, cache, monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(InputError, match="cannot be kept there .File too large"):
            read(flat)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert cached(cache) == []
    usage = SimpleNamespace(total=100, free=99)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"need 0.1 MB, but only 0.0 MB are free; make room"):
        read(flat)
    # A file system that does not say, as some over a network.
    usage.total = usage.free = 0
    assert len(read(flat).train_images) == 18


def test_interrupted_decoding_leaves_nothing_behind(flat, cache, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folders.Cache, "_decode", stopped)
        with pytest.raises(KeyboardInterrupt):
            read(flat)
    assert cached(cache) == []


def test_held_out_images_are_bounded(flat, monkeypatch):
    monkeypatch.setattr(folders, "MAX_HELD_OUT", 1)
    assert len(read(flat).test_images) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 32}, "image_size=32: it is for a folder of images"),
        ({"channels": "grey"}, "channels='grey': it is for a folder of images"),
        ({"images": "x", "image_size": 50}, "image_size=50: expected one of 28, 32, 64, 128"),
        ({"images": "x", "channels": "rgb"}, "expected one of grey, colour"),
        ({"images": "x", "data_dir": "y"}, "images=.*x': it cannot be given beside --data-dir"),
        ({"images": "x", "dataset": "y"}, "images=.*x': it cannot be given beside --data-dir"),
        ({"filters": 8}, "filters=8: it shapes networks of --arch conv, but here it is mlp"),
        ({"images": "x", "hidden": (9,)}, "it shapes networks of --arch mlp, but here it is conv"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)


def test_defaults_follow_the_data():
    config = Config(images="/some/faces")
    assert (config.arch, config.code_dim, config.image_size) == ("conv", 64, 64)
    assert (config.channels, config.name) == ("colour", "gaussian_unsupervised_faces_64")
    assert Config(images="/some/faces", arch="mlp").name == "gaussian_unsupervised_faces_64_mlp"
    assert Config(arch="conv").name == "gaussian_unsupervised_conv"
    config = Config(arch="conv")
    assert (config.image_size, config.channels, config.code_dim) == (None, None, 2)
    # Settings of a run from before there were folders.
    old = {name: value for name, value in small_config().to_dict().items()}
    for name in ("images", "image_size", "channels", "arch", "filters"):
        del old[name]
    assert Config.from_dict(old) == small_config()
