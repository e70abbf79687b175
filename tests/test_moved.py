"""Data that have been moved or changed since a run was trained, and other images to encode."""

import csv
import json
import shutil

import numpy as np
import pytest
from conftest import SMALL_CONV, small_config, write_idx
from PIL import Image

import aae_mx
from aae_mx import encode, train
from aae_mx.commands import evaluate, explore, plot, report
from aae_mx.commands import export as export_command
from aae_mx.config import Config
from aae_mx.data import load_dataset
from aae_mx.errors import ConfigError, InputError
from aae_mx.model import load, load_data, read_config
from aae_mx.report import evaluate as evaluating
from aae_mx.report import figures as run_figures
from aae_mx.report.evaluate import evaluate as measure
from aae_mx.report.figures import plot_run

READERS = [
    (plot.main, []),
    (plot.main, ["--animate"]),
    (evaluate.main, []),
    (report.main, ["--out", "report.html"]),
    (explore.main, ["--grid", 3]),
    (export_command.main, []),
    (encode.main, ["--split", "test", "--out", "codes.npz"]),
    (train.main, ["--no-figures", "--epochs", 2, "--quiet"]),
]


@pytest.fixture(scope="module")
def trained(image_folder, tmp_path_factory):
    """A run on a folder, of an epoch, with snapshots."""
    path = tmp_path_factory.mktemp("trained")
    shutil.copytree(image_folder, path / "before")
    settings = {**SMALL_CONV, "epochs": 1, "prior": "uniform", "labels": "all"}
    config = Config(images=str(path / "before"), **settings)
    aae_mx.fit(config, path / "run", quiet=True, snapshots=True)
    return path


@pytest.fixture
def moved(trained, tmp_path, monkeypatch):
    """A copy of that run, whose folder is now called ``now``; the working directory."""
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copytree(trained / "before", tmp_path / "now")
    text = (tmp_path / "run/config.json").read_text()
    text = text.replace(str(trained / "before"), str(tmp_path / "before"))
    (tmp_path / "run/config.json").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(command, options):
    return ["--resume", "run", *options] if command is train.main else ["run", *options]


@pytest.mark.parametrize(("command", "options"), READERS)
def test_every_command_can_be_told_where_the_pictures_are(
    moved, call, refused, monkeypatch, command, options
):
    without_drawing(monkeypatch)
    if command is export_command.main:
        pytest.importorskip("onnx")
    options = arguments(command, options)
    message = refused(command, *options, code=1)
    assert message == (
        f"Error: run: the data are no longer in {moved}/before; name the place where they are by "
        "--images DIR\n"
    )
    # As where a disk is missing.
    (moved / "before").mkdir()
    assert refused(command, *options, code=1) == message
    message = refused(command, *options, "--data-dir", "now", code=2)
    assert f"--data-dir now: the run was trained on {moved}/before; name a new place by" in message
    (moved / "now/discs/00.png").rename(moved / "removed.png")
    message = refused_but_for_decoding(call, command, *options, "--images", "now")
    assert f"the data in {moved}/now are not those that it was trained on" in message
    assert f", then in {moved}/before" in message
    (moved / "removed.png").rename(moved / "now/discs/00.png")
    status, output = call(command, *options, "--images", "now")
    assert status == 0, output


def without_drawing(monkeypatch):
    """Figures, which take seconds, are not drawn; the codes are what they need the data for."""

    def drawn(model, out, dataset, seed, **looks):
        return len(model.encode(dataset.test_images))

    monkeypatch.setattr(run_figures, "plot_run", drawn)
    monkeypatch.setattr(run_figures, "animate_run", drawn)


def refused_but_for_decoding(call, command, *options):
    """The line in which a command ends, after those of the pictures that it decodes."""
    status, output = call(command, *options)
    lines = output.splitlines()
    assert status == 1 and lines[-1].startswith("Error: "), output
    assert all("decoding" in line or ": reading " in line for line in lines[:-1]), output
    return lines[-1]


@pytest.mark.parametrize(("command", "options"), READERS)
def test_changed_data_are_refused(moved, call, command, options):
    if command is export_command.main:
        pytest.importorskip("onnx")
    (moved / "now").rename(moved / "before")
    shutil.copy(moved / "before/discs/00.png", moved / "before/discs/more.png")
    message = refused_but_for_decoding(call, command, *arguments(command, options))
    assert "run: the data are no longer those that it was trained on: something in " in message
    assert f"{moved}/before was added, removed or changed" in message
    assert message.endswith("name an unchanged copy by --images DIR")


def test_the_new_place_is_kept_on_resume(moved):
    model = aae_mx.resume("run", images="now", data_dir=None, epochs=2, quiet=True)
    assert model.config.images == str(moved / "now")
    assert read_config("run").images == str(moved / "now")
    assert len(load_data(load("run")).train_images) == 36
    assert aae_mx.resume("run", epochs=3, quiet=True).config.epochs == 3


def test_moved_runs_in_python(moved, idx_directory):
    model = load("run")
    for use in (plot_run, measure, run_figures.animate_run, load_data):
        with pytest.raises(InputError, match="name the place where they are by --images DIR"):
            use(model)
    dataset = load_data(model, images="now", quiet=True)
    assert dataset.classes == ("discs", "squares")
    assert measure(model, dataset=dataset)["images"] == 4
    with pytest.raises(ConfigError, match="name a new place by --images"):
        aae_mx.resume("run", data_dir="now", epochs=2, quiet=True)


def test_both_meanings_of_images_in_evaluate(moved, call, refused, monkeypatch):
    metrics = dict.fromkeys(evaluating.METRICS)

    def measured(model, n, seed, dataset, split):
        shown = {"images": len(dataset.test_images[:n]), "split": split, "noun": "images"}
        return {**shown, "metrics": metrics, "ideal": metrics}

    monkeypatch.setattr(evaluating, "evaluate", measured)
    for given, n in ((["now"], 4), (["now", 3], 3), ([3, "now"], 3), ([2, 3, "now"], 3)):
        options = [option for value in given for option in ("--images", value)]
        status, output = call(evaluate.main, "run", *options, "--json", "-")
        assert status == 0, output
        assert json.loads(output[output.index("{") :])["runs"][0]["images"] == n
    assert "not in the range" in refused(evaluate.main, "run", "--images", -3, code=2)


def test_moved_idx_files(call, refused, idx_directory, tmp_path, monkeypatch):
    run, before, now = tmp_path / "run", tmp_path / "before", tmp_path / "now"
    before.mkdir()
    for file in idx_directory.glob("*ubyte*"):
        file.rename(before / file.name)
    settings = {"prior": "uniform", "labels": "all", "epochs": 1, "limit": 40}
    aae_mx.fit(small_config(data_dir=str(before), transpose=True, **settings), run, quiet=True)
    assert json.loads((run / "config.json").read_text())["config"]["transpose"] is True
    assert load(run).image_shape == (5, 6)
    before.rename(now)
    monkeypatch.chdir(tmp_path)
    message = refused(encode.main, run, "--out", "a.csv", code=1)
    assert f"no longer in {before}; name the place where they are by --data-dir DIR" in message
    options = ["--split", "test", "--data-dir", "now"]
    assert call(encode.main, run, "--out", "a.csv", *options)[0] == 0
    options = ["--epochs", 2, "--no-figures", "--data-dir", "now", "--transpose"]
    assert call(train.main, "--resume", run, *options)[0] == 0
    assert len(load_data(load(run)).train_images) == 40
    write_idx(now / "t10k-labels-idx1-ubyte", np.zeros(20))
    with pytest.raises(InputError, match="something in .*now was added, removed or changed"):
        load_data(load(run))
    with pytest.raises(ConfigError, match=f"trained on {now}; name a new place by --data-dir"):
        load_data(load(run), images=str(now))


def test_data_of_the_package_have_no_place(refused, unsupervised_run, idx_directory):
    message = refused(plot.main, unsupervised_run, "--data-dir", idx_directory, code=2)
    assert f"--data-dir {idx_directory}: the run was trained on the dataset mnist" in message


def test_runs_of_classes_in_another_order(moved):
    """As they were before: with classes that do not occur, in another order, or with none."""
    (moved / "now").rename(moved / "before")
    file = moved / "run/config.json"
    description = json.loads(file.read_text())
    expected = load_dataset(read_config("run"))
    for classes in (["squares", "nothing", "discs"], []):
        dataset = expected.with_classes(classes)
        description.update(classes=classes, data=dataset.fingerprint())
        if not classes:
            description["config"]["labels"] = "none"
        file.write_text(json.dumps(description))
        config = read_config("run")
        model = aae_mx.model.AAE(config, (28, 28, 3), classes)
        model.run = "run"
        found = load_data(model)
        assert found.classes == tuple(classes)
        np.testing.assert_array_equal(found.train_labels, dataset.train_labels)


# Other images.


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_encode_others(moved, call, refused, cache_directory):
    (moved / "now").rename(moved / "before")
    others = moved / "others"
    for name, n in (("squares", 3), ("discs", 2)):
        (others / name).mkdir(parents=True)
        for i in range(n):
            number = 2 * i + (name == "squares")
            shutil.copy(moved / f"before/{name}/{number:02}.png", others / name)
    (others / "notes.txt").write_text("")
    cached = sorted(cache_directory.rglob("*.uint8"))
    status, output = call(encode.main, "run", "--images", "others", "--out", "codes.npz")
    assert status == 0, output
    assert "codes of 5 images of others" in output
    assert "others: 5 pictures taken; left out: 1 not named as a picture (notes.txt)" in output
    assert cached and sorted(cache_directory.rglob("*.uint8")) == cached, "nothing is kept"
    with np.load("codes.npz", allow_pickle=False) as arrays:
        arrays = dict(arrays)
    names = ["discs/00.png", "discs/02.png", "squares/01.png", "squares/03.png", "squares/05.png"]
    assert arrays["files"].tolist() == names
    assert arrays["y"].tolist() == [0, 0, 1, 1, 1] and arrays["y"].dtype == np.int64
    assert arrays["xr"].shape == (5, 28 * 28 * 3) and arrays["py"].shape == (5,)
    # They are codes of the same pictures.
    dataset = load_data(load("run"))
    images = np.concatenate([dataset.train_images, dataset.test_images])
    where = [*dataset.train_files, *dataset.test_files]
    own = images[[where.index(name) for name in names]]
    np.testing.assert_allclose(load("run").encode(own), arrays["qz"], rtol=1e-4, atol=1e-6)

    assert call(encode.main, "run", "--images", "others", "--out", "codes.csv")[0] == 0
    rows = read_csv("codes.csv")
    assert list(rows[0]) == ["z0", "z1", "z2", "z3", "label", "file"]
    assert [row["file"] for row in rows] == names
    assert [row["label"] for row in rows] == ["discs", "discs", "squares", "squares", "squares"]
    codes = [[float(row[f"z{i}"]) for i in range(4)] for row in rows]
    np.testing.assert_array_equal(np.array(codes, np.float32), arrays["qz"])

    # Of a class that the run does not know: no labels.
    (others / "discs").rename(others / "stars")
    assert call(encode.main, "run", "--images", "others", "--out", "a.npz")[0] == 0
    assert "y" not in np.load("a.npz").files
    message = refused(
        encode.main, "run", "--images", "a", "--data-dir", "b", "--out", "b.npz", code=2
    )
    assert "cannot be given beside --images" in message


def test_encode_a_single_picture(moved, call, refused):
    (moved / "one").mkdir()
    assert ".png" in refused(encode.main, "run", "--images", "one", "--out", "a.csv", code=1)
    Image.new("L", (50, 40), 200).save(moved / "one/two,\n.webp")
    status, output = call(encode.main, "run", "--images", "one", "--out", "a.csv")
    assert status == 0 and "codes of 1 images of one" in output, output
    (row,) = read_csv("a.csv")
    assert row["file"] == "two,\\n.webp" and "label" not in row
    (moved / "one/two,\n.webp").write_bytes(b"")
    message = refused(encode.main, "run", "--images", "one", "--out", "b.csv", code=1)
    assert "one: 0 of 1 files can be read, one is needed (two,\\n.webp: " in message
    # A sub-folder of one of the run's classes says what it is.
    (moved / "single/squares").mkdir(parents=True)
    Image.new("L", (50, 40), 200).save(moved / "single/squares/a.png")
    assert call(encode.main, "run", "--images", "single", "--out", "c.csv")[0] == 0
    assert read_csv("c.csv")[0]["label"] == "squares"


def test_encode_the_runs_own(moved, call):
    (moved / "now").rename(moved / "before")
    for split, n in (("test", 4), ("train", 36)):
        assert call(encode.main, "run", "--split", split, "--out", f"{split}.npz")[0] == 0
        arrays = np.load(f"{split}.npz")
        classes = ["discs", "squares"]
        assert [file.split("/")[0] for file in arrays["files"]] == [
            classes[label] for label in arrays["y"]
        ]
        assert len(arrays["files"]) == n


def test_encode_idx_files_of_others(supervised_run, unsupervised_run, refused, call, tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 6), ("t10k", 2)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", rng.integers(256, size=(n, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.full(n, n))
    out = tmp_path / "codes.csv"
    assert call(encode.main, supervised_run, "--data-dir", tmp_path, "--out", out)[0] == 0
    rows = read_csv(out)
    assert [row["label"] for row in rows] == ["6"] * 6 + ["2"] * 2
    assert list(rows[0]) == ["z0", "z1", "label"]
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.full(2, 77))
    assert call(encode.main, supervised_run, "--data-dir", tmp_path, "--out", out, "--overwrite")
    assert list(read_csv(out)[0]) == ["z0", "z1"]
    for part, n in (("train", 6), ("t10k", 2)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", np.zeros((n, 6, 5)))
    message = refused(
        encode.main, supervised_run, "--data-dir", tmp_path, "--out", out, "--overwrite", code=1
    )
    assert "its images are 6 × 5 pixels, those of the run 28 × 28 pixels" in message


def test_encode_pictures_with_a_run_on_mnist(supervised_run, call, tmp_path):
    for name in ("7", "3"):
        (tmp_path / "digits" / name).mkdir(parents=True)
        Image.new("RGB", (60, 50), "red").save(tmp_path / "digits" / name / "a.jpg")
    out = tmp_path / "codes.npz"
    assert call(encode.main, supervised_run, "--images", tmp_path / "digits", "--out", out)[0] == 0
    arrays = np.load(out)
    assert arrays["y"].tolist() == [3, 7] and arrays["x"].shape == (2, 784)
    np.testing.assert_allclose(arrays["x"], 76 / 255, atol=1e-6)
