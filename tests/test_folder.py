import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import small_config
from PIL import Image, features

from aae_mx import train
from aae_mx.config import Config
from aae_mx.data import folder as folders
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
    taken, left_out = lines[-1].split("; left out: 5 unreadable (")
    assert taken == f"{flat}: 20 pictures taken"
    assert left_out.endswith(", ...), 1 hidden (.hidden.png), 1 not named as a picture (notes.txt)")
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
    with pytest.raises(
        InputError, match="void: there are no .png, .jpg, .jpeg, .*tiff files in it"
    ):
        read(tmp_path / "void")
    for name in ("a.png", "b.png"):
        (tmp_path / "void" / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"void: 0 of 2 files can be read, .* \([ab].png: "):
        read(tmp_path / "void")
    (flat / "more").mkdir()
    Image.new("L", (9, 9)).save(flat / "more" / "one.png")
    with pytest.raises(InputError, match="flat: it holds images and sub-folders with images"):
        read(flat)


def grey(path, value=7):
    """A small grey picture at ``path``, in folders that are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 9), value).save(path)


def summary(path, capsys, **settings):
    """The data of a folder, and what is said of it in the end."""
    data = read(path, **settings)
    return data, capsys.readouterr().err.splitlines()[-1]


def files(data):
    return sorted([*data.train_files, *data.test_files])


def test_hidden_folders_are_left_out(tmp_path, capsys):
    for name in ("cats", "dogs"):
        for i in range(3):
            grey(tmp_path / "pets" / name / f"{i}.png")
    for name in ("cats/.ipynb_checkpoints", "cats/@eaDir", "dogs/.thumbnails", "__MACOSX/cats"):
        grey(tmp_path / "pets" / name / "0.png")
    (tmp_path / "pets/dogs/Thumbs.db").write_text("")
    data, line = summary(tmp_path / "pets", capsys)
    assert data.classes == ("cats", "dogs")
    assert files(data) == [f"{name}/{i}.png" for name in ("cats", "dogs") for i in range(3)]
    assert line == (
        f"{tmp_path}/pets: 6 pictures taken; left out: 5 hidden (__MACOSX, "
        "cats/.ipynb_checkpoints, ...)"
    )


def test_links_are_followed_once(tmp_path, capsys):
    grey(tmp_path / "elsewhere/4.png")
    pets = tmp_path / "pets"
    for i in range(3):
        grey(pets / "b" / f"{i}.png")
    for link, target in {
        "a": "b",  # the folder itself is taken, not the link that comes before
        "c": "../elsewhere",
        "d": "../elsewhere",
        "b/up": "..",
        "b/out": "/",
        "b/self": ".",
        "b/3.png": "0.png",
        "b/4.png": "../../elsewhere/4.png",
        "b/gone.png": "nowhere",
    }.items():
        (pets / link).symlink_to(target)
    data, line = summary(pets, capsys)
    assert files(data) == ["b/0.png", "b/1.png", "b/2.png", "c/4.png"]
    assert data.classes == ("b", "c")
    assert line.endswith(
        ": 4 pictures taken; left out: 7 linked twice or in a circle (a, b/3.png, ...), 1 linked "
        "to nothing (b/gone.png)"
    )
    # The folder itself may be a link.
    (tmp_path / "link").symlink_to("pets")
    assert read(tmp_path / "link").fingerprint() == data.fingerprint()


def test_a_linked_file_is_read_where_it_is(tmp_path):
    grey(tmp_path / "elsewhere/a.png", 50)
    (tmp_path / "flat").mkdir()
    grey(tmp_path / "flat/b.png", 200)
    (tmp_path / "flat/a.png").symlink_to("../elsewhere/a.png")
    data = read(tmp_path / "flat", channels="grey")
    assert sorted([data.train_images.max(), data.test_images.max()]) == [50, 200]


def test_every_format_is_read(tmp_path, capsys):
    ends = ["png", "JPG", "jpeg", "bmp", "gif", "tif", "TIFF", *["webp"] * features.check("webp")]
    for i, end in enumerate(ends):
        Image.new("RGB", (40, 40), (200, 100, 20)).save(tmp_path / f"{i}.{end}")
    Image.new("RGB", (40, 40)).save(tmp_path / "x.ppm")
    data, line = summary(tmp_path, capsys)
    assert len(files(data)) == len(ends)
    assert line.endswith("left out: 1 not named as a picture (x.ppm)")
    every = np.concatenate([data.train_images, data.test_images]).astype(int)
    assert np.abs(every - [200, 100, 20]).max() <= 12


def test_formats_that_this_pillow_lacks_are_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    for name in ("a.png", "b.png", "c.webp"):
        (tmp_path / name).write_bytes(b"")
        grey(tmp_path / "a.png")
        grey(tmp_path / "b.png")
    data, line = summary(tmp_path, capsys)
    assert files(data) == ["a.png", "b.png"]
    assert line.endswith("left out: 1 not named as a picture (c.webp)")


def test_first_frame_and_deep_pixels(tmp_path):
    frames = [Image.new("L", (30, 30), value) for value in (10, 20, 30)]
    for name in ("a.gif", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert (folders.decode(tmp_path / name, (28, 28)) == 10).all()
    deep = Image.fromarray(np.full((30, 30), 0x8000, np.uint16))
    deep.save(tmp_path / "deep.tif")
    assert (folders.decode(tmp_path / "deep.tif", (28, 28)) == 0x80).all()
    for pixels in (np.full((30, 30), 2**16, np.int32), np.full((30, 30), 0.5, np.float32)):
        Image.fromarray(pixels).save(tmp_path / "deeper.tif")
        with pytest.raises(ValueError, match="its pixels "):
            folders.decode(tmp_path / "deeper.tif", (28, 28))


def test_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    for name in ("cats", "dogs", "birds"):
        grey(tmp_path / "pets" / name / "0.png")
    scandir = os.scandir

    def refuses(path):
        if str(path).endswith("dogs"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    # Root may read everything.
    monkeypatch.setattr(os, "scandir", refuses)
    with pytest.raises(InputError, match="pets/dogs: the folder cannot be read .Permission denied"):
        read(tmp_path / "pets")


def test_classes_are_those_that_can_be_read(tmp_path, capsys):
    for name in ("10", "2", "1"):
        for i in range(3):
            grey(tmp_path / name / f"{i}.png", 20 * int(name))
    (tmp_path / "0").mkdir()
    (tmp_path / "0/broken.png").write_bytes(b"")
    (tmp_path / "void").mkdir()
    data, line = summary(tmp_path, capsys)
    assert data.classes == ("1", "2", "10")
    for images, labels in (data.split("train"), data.split("test")):
        np.testing.assert_array_equal(images[:, 0, 0, 0], np.array([20, 40, 200])[labels])
    assert line.endswith(
        "left out: 1 unreadable (0/broken.png), 1 without pictures (void), 1 without readable "
        "pictures (0)"
    )
    # What is not the whole set does not change them.
    assert read(tmp_path, limit=1).classes == data.classes
    # Left with one class, it is flat.
    for name in ("10", "2"):
        for file in (tmp_path / name).iterdir():
            file.write_bytes(b"")
    assert read(tmp_path).classes == ()


def test_class_names_can_be_shown(tmp_path):
    folder = os.fsencode(tmp_path / "odd")
    for name in (b"caf\xe9", b"caf\\xe9", b"two\nlines", "é\u200d".encode()):
        os.makedirs(os.path.join(folder, name))
        Image.new("L", (9, 9)).save(os.fsdecode(os.path.join(folder, name, b"\xe9\n.png")))
    data = read(tmp_path / "odd")
    assert data.classes == ("caf\\xe9", "caf\\xe9'", "two\\nlines", "é\u200d")
    assert all(name.encode("utf-8") for name in data.classes)


def test_a_wrapping_folder_is_stepped_into(tmp_path):
    for i in range(4):
        grey(tmp_path / "outer/inner/deep/cats" / f"{i}.png")
        grey(tmp_path / "outer/inner/deep/dogs" / f"{i}.png")
        grey(tmp_path / "single/cats" / f"{i}.png")
        grey(tmp_path / "single/cats/more" / f"{i}.png")
    (tmp_path / "outer/read.me").write_text("")
    assert read(tmp_path / "outer").classes == ("cats", "dogs")
    data = read(tmp_path / "single")
    assert data.classes == () and len(files(data)) == 8, "one class says nothing"


@pytest.mark.parametrize(
    "names", [("train", "test"), ("Training", "val"), ("wrapping/pets/train", "wrapping/pets/test")]
)
def test_split(tmp_path, capsys, names):
    for part, n in zip(names, (6, 4)):
        for value in (10, 200):
            for i in range(n):
                grey(tmp_path / part / str(value) / f"{i}.png", value)
    data, line = summary(tmp_path, capsys)
    assert data.classes == ("10", "200")
    assert all(file.startswith(names[0]) for file in data.train_files)
    assert all(file.startswith(names[1]) for file in data.test_files)
    for images, labels in (data.split("train"), data.split("test")):
        np.testing.assert_array_equal(images[:, 0, 0, 0], np.array([10, 200])[labels])
    assert line == (f"{tmp_path}: 20 pictures taken: 12 of {names[0]}; held out: 8 of {names[1]}")
    assert len(set(data.train_labels[:6])) == 2, "in a random order"


def test_split_beside_other_folders(tmp_path, capsys):
    for part in ("train", "test", "val"):
        for i in range(3):
            grey(tmp_path / part / f"{i}.png")
    data, line = summary(tmp_path, capsys)
    assert data.classes == () and data.test_images.shape == (3, 32, 32, 3)
    assert line.endswith(
        "held out: 3 of test; left out: 3 beside the split (val/0.png, val/1.png, ...)"
    )


def test_split_of_other_classes_is_refused(refused, tmp_path):
    for name in ("train/cats", "train/dogs", "test/cats", "test/cows"):
        grey(tmp_path / name / "0.png")
    message = refused(train.main, "--images", tmp_path, code=1)
    assert "the classes of test are not those of train (test has cows)" in message
    assert f"or give {tmp_path}/train alone" in message
    for name in ("cats", "cows"):
        (tmp_path / f"test/{name}/0.png").rename(tmp_path / f"test/{name}.png")
    assert "(test has no classes)" in refused(train.main, "--images", tmp_path, code=1)
    for file in (tmp_path / "test").glob("*.png"):
        (tmp_path / "test/cats" / file.name).write_bytes(b"")
        file.unlink()
    with pytest.raises(InputError, match="of the pictures to be held out none can be read"):
        read(tmp_path, image_size=64)


def test_what_was_left_out_is_said_when_it_changes(flat, capsys):
    read(flat)
    assert len(capsys.readouterr().err.splitlines()) == 1, "nothing was left out"
    (flat / "notes.txt").write_text("")
    _, line = summary(flat, capsys)
    assert line == f"{flat}: 20 pictures taken; left out: 1 not named as a picture (notes.txt)"
    load_dataset(Config(images=str(flat), image_size=32), quiet=True)
    assert capsys.readouterr().err == ""


def test_not_a_folder(refused, tmp_path):
    (tmp_path / "pets.zip").write_bytes(b"PK")
    for option, wanted in (("--images", "give a folder"), ("--data-dir", "the directory")):
        message = refused(train.main, option, tmp_path / "pets.zip", code=1)
        assert "pets.zip: it is a file" in message and f"{wanted} (an archive unpacked)" in message
    (tmp_path / "two\nlines").mkdir()
    message = refused(train.main, "--images", tmp_path / "two\nlines", code=1)
    assert "two\\nlines: there are no .png" in message


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


def test_one_process_decodes_while_others_wait(flat, tmp_path):
    """Four at once with no cache: one decodes the images, all have the same."""
    code = f"""
import time
from aae_mx.data import folder
from aae_mx.config import Config
from aae_mx.data import load_dataset
decode_all = folder.decode_all
folder.decode_all = lambda *arguments: (time.sleep(2), decode_all(*arguments))[1]
print(load_dataset(Config(images={str(flat)!r}, image_size=32)).fingerprint())
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    printed, said = zip(*(process.communicate(timeout=120) for process in processes))
    assert {process.returncode for process in processes} == {0}, said
    assert len(set(printed)) == 1
    waited = f"{flat}: another process is decoding these images; waiting for it\n"
    assert sorted(said)[:3] == [waited] * 3 and "decoding 20 images into" in sorted(said)[3]


@pytest.mark.parametrize("quiet", [False, True])
def test_interrupted_while_waiting(flat, cache, quiet):
    read(flat)
    next(cache.glob("*/*.json")).unlink()

    def interrupt():
        time.sleep(0.3)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    # Started in the background by a shell, the tests themselves ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    options = ["--images", flat, "--image-size", 32, *(["--quiet"] if quiet else [])]
    with lock(next(cache.iterdir())):
        threading.Thread(target=interrupt).start()
        try:
            result = CliRunner().invoke(train.main, [str(option) for option in options])
        finally:
            signal.signal(signal.SIGINT, before)
    said = f"{flat}: another process is decoding these images; waiting for it\n"
    # Click ends the line that ^C stands in.
    assert result.output == said * (not quiet) + "\nError: interrupted\n"
    assert result.exit_code == 130
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
        ({"images": "x", "transpose": True}, "transpose=True: it is for IDX files; name their"),
        ({"images": "x", "data_dir": "y"}, "images=.*x': it cannot be given beside --data-dir"),
        ({"images": "x", "dataset": "y"}, "images=.*x': it cannot be given beside --dataset"),
        ({"filters": 8}, "filters=8: it is for --arch conv, but here it is mlp"),
        ({"images": "x", "hidden": (9,)}, "it is for --arch mlp, but here it is conv"),
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


@pytest.mark.parametrize(("given", "kept"), [("gray", "grey"), ("color", "colour")])
def test_both_spellings_of_channels(refused, given, kept):
    assert Config(images="x", channels=given) == Config(images="x", channels=kept)
    message = refused(train.main, "--images", "nowhere", "--channels", given, code=1)
    assert "nowhere: the folder cannot be read" in message
