import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import small_options, write_idx

import aae_mx
from aae_mx import __main__, encode, evaluate, explore, export, figures, plot, sample, train
from aae_mx.run import read_history

POST = [
    "gaussian_unsupervised",
    "gaussian_mixture_unsupervised",
    "swiss_roll_unsupervised",
    "uniform_unsupervised",
    "gaussian_mixture_supervised",
    "swiss_roll_supervised",
    "uniform_supervised",
]
FIGURES = ("interpolations", "losses", "output", "pz", "qz", "reconstructions", "samples")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every command runs in an empty directory of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    ("command", "example"),
    [
        (train.main, "--prior swiss_roll --labels"),
        (encode.main, "--out codes.npz"),
        (sample.main, "-n 64"),
        (plot.main, "runs/swiss_roll_supervised"),
        (evaluate.main, "aae_mx.evaluate runs/swiss_roll_supervised"),
        (figures.main, "--out figures"),
        (explore.main, "aae_mx.explore runs/swiss_roll_supervised"),
        (export.main, "aae_mx.export runs/swiss_roll_supervised"),
    ],
)
def test_help_has_defaults_and_an_example(call, command, example):
    status, output = call(command, "--help")
    assert status == 0
    assert example in output and "Example: python -m aae_mx." in output
    assert "default: " in output


def test_train_without_labels(call, tmp_path):
    status, output = call(train.main, *small_options(), "--out", tmp_path / "run")
    assert status == 0, output
    assert "epoch 2/2" in output and "left" in output
    drawn = sorted((tmp_path / "run/figures").iterdir())
    assert [path.stem for path in drawn] == list(FIGURES)
    assert all(is_png(path) for path in drawn)


def test_train_with_labels_and_default_name(call, tmp_path):
    options = small_options(prior="swiss_roll")
    assert call(train.main, *options, "--labels", "--no-figures")[0] == 0
    assert aae_mx.load("runs/swiss_roll_supervised").config.labels == "all"
    assert call(train.main, "--labels", "50", *options, "--no-figures", "--quiet") == (0, "")
    assert aae_mx.load("runs/swiss_roll_semi_supervised_50").config.labels == 50


def test_train_of_own_images_with_six_dimensions(call, idx_directory, tmp_path):
    options = small_options(data_dir=idx_directory, code_dim=6, prior="uniform", limit=40)
    status, output = call(train.main, *options, "--labels", "--out", tmp_path / "run")
    assert status == 0, output
    assert aae_mx.load(tmp_path / "run").image_shape == (6, 5)


def test_recipe_reference(call, tmp_path):
    options = [*small_options(epochs=1), "--recipe", "reference", "--no-figures"]
    assert call(train.main, *options, "--out", tmp_path / "run")[0] == 0
    config = aae_mx.load(tmp_path / "run").config
    assert (config.decay, config.epochs, config.batch_size) == ("none", 1, 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prior", "cauchy"], "'cauchy' is not one of 'gaussian'"),
        (["--code-dim", 3, "--prior", "swiss_roll"], "--code-dim 3: expected an even number"),
        (["--labels"], "--prior gaussian: the single Gaussian has no pieces"),
        (["--labels", 0, "--prior", "uniform"], "--labels 0: expected 'all', 'none' or"),
        (["--labels=-5", "--prior", "uniform"], "-5"),
        (["--labels", "yes", "--prior", "uniform"], "--labels yes: expected"),
        (["--labels", 301, "--prior", "uniform", "--limit", 300], "only 300 training images"),
        (["--labels", 9, "--prior", "uniform"], "--labels 9: there are 10 classes"),
        (["--labels", 60001, "--prior", "uniform"], "--labels 60001: there are only 60000"),
        (["--epochs", 0], "--epochs 0: expected at least 1"),
        (["--epochs", "many"], "'many' is not a valid integer"),
        (["--generator-rate", "nan"], "--generator-rate nan: expected a finite number"),
        (["--hidden", "10,x"], "expected whole numbers with commas between"),
        (["--hidden", "10,0"], "--hidden 10,0: expected at least 1"),
        (["--extent", 3], "--extent 3.0: it shapes the uniform prior"),
        (["--ctx", "gpu(9)"], "--ctx gpu(9): MXNet sees"),
        (["--ctx", "tpu"], "--ctx tpu: expected cpu, gpu or gpu(N)"),
        (["--data-dir", "a", "--dataset", "b"], "--data-dir"),
        (["--nonsense"], "No such option"),
        (["surplus"], "unexpected extra argument"),
    ],
)
def test_train_refuses_wrong_use(refused, options, message):
    assert message in refused(train.main, *options, code=2)
    assert not os.listdir("."), "nothing is left behind"


def test_train_refuses_wrong_files(refused, idx_directory):
    assert "no such directory" in refused(train.main, "--data-dir", "nowhere", code=1)
    write_idx(idx_directory / "train-labels-idx1-ubyte", np.zeros(39))
    message = refused(train.main, "--data-dir", idx_directory, code=1)
    assert "40 images" in message and "39 labels" in message
    assert not os.listdir("."), "nothing is left behind"


@pytest.mark.parametrize("size", [["--hidden", "1000000,1000000"], ["--code-dim", 10**11]])
def test_train_refuses_what_no_memory_holds(refused, size):
    message = refused(train.main, *size, "--limit", 10, code=1)
    assert "networks are too large: to train them takes" in message
    assert not os.listdir("."), "nothing is left behind"


def test_out_of_memory_in_training(refused, monkeypatch):
    def fit(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("aae_mx.training.fit", fit)
    assert "too large, or MXNet failed (out of memory)" in refused(train.main, code=1)


def test_train_never_overwrites(refused, supervised_run):
    before = (supervised_run / "config.json").read_bytes()
    message = refused(train.main, *small_options(), "--out", supervised_run, code=1)
    assert "not overwritten; choose another --out" in message
    assert (supervised_run / "config.json").read_bytes() == before


def test_train_refuses_a_file_as_directory(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        assert "cannot be made" in refused(train.main, *small_options(), "--out", out, code=1)
    assert (tmp_path / "file").read_text() == "mine"


def test_encode(call, supervised_run, unsupervised_run):
    for run, has_pieces in ((supervised_run, True), (unsupervised_run, False)):
        status, output = call(encode.main, run, "--out", "codes.npz", "--overwrite")
        assert status == 0, output
        with np.load("codes.npz", allow_pickle=False) as arrays:
            arrays = dict(arrays)
        assert set(arrays) == {"qz", "y", "pz", "x", "xr"} | ({"py"} if has_pieces else set())
        assert arrays["qz"].shape == arrays["pz"].shape == (300, 2)
        assert arrays["x"].shape == arrays["xr"].shape == (300, 784)
        assert arrays["y"].shape == (300,)
        assert 0 <= arrays["xr"].min() and arrays["xr"].max() <= 1 == arrays["x"].max()
        model = aae_mx.load(run)
        np.testing.assert_array_equal(model.encode(arrays["x"]), arrays["qz"])
        np.testing.assert_array_equal(model.decode(arrays["qz"]).reshape(300, 784), arrays["xr"])


def test_encode_train_split(call, supervised_run):
    assert call(encode.main, supervised_run, "--out", "a.npz", "--split", "train")[0] == 0
    with np.load("a.npz") as arrays:
        np.testing.assert_array_equal(arrays["y"][:5], [5, 0, 4, 1, 9])


def test_sample(call, supervised_run, unsupervised_run):
    assert call(sample.main, unsupervised_run, "-n", 5)[0] == 0
    assert call(sample.main, supervised_run, "-n", 7, "--label", 3, "--out", "a.npz")[0] == 0
    with np.load("a.npz") as arrays:
        assert arrays["images"].shape == (7, 28, 28) and arrays["z"].shape == (7, 2)
        np.testing.assert_array_equal(arrays["labels"], [3] * 7)
    assert is_png(Path("samples.png"))


def test_plot(call, supervised_run, tmp_path):
    status, output = call(plot.main, supervised_run, "--out", tmp_path / "drawn")
    assert status == 0, output
    assert sorted(path.stem for path in (tmp_path / "drawn").iterdir()) == list(FIGURES)


@pytest.mark.parametrize("command", [encode.main, sample.main, plot.main])
def test_no_run_there(refused, command, tmp_path):
    out = [] if command is plot.main else ["--out", tmp_path / "a.npz"]
    assert "there is no run here" in refused(command, tmp_path / "nowhere", *out, code=1)
    (tmp_path / "empty").mkdir()
    assert "there is no run here" in refused(command, tmp_path / "empty", *out, code=1)


@pytest.mark.parametrize("command", [encode.main, sample.main])
def test_bad_output_files(refused, supervised_run, command, tmp_path):
    def message(out):
        return refused(command, supervised_run, "--out", out, code=2)

    assert "expected a file that ends in" in message("codes.txt")
    assert "directory missing does not exist" in message("missing/codes.npz")
    (tmp_path / "codes.npz").write_text("mine")
    assert "the file exists; add --overwrite" in message(tmp_path / "codes.npz")
    assert (tmp_path / "codes.npz").read_text() == "mine"


def test_sample_refused(refused, supervised_run, unsupervised_run):
    def message(run, *options, code):
        return refused(sample.main, run, *options, code=code)

    assert "expected one of 0, 1, 2" in message(supervised_run, "--label", "x", code=2)
    assert "trained without labels" in message(unsupervised_run, "--label", 1, code=1)
    assert "0 is not in the range" in message(supervised_run, "-n", 0, code=2)
    assert "do not fit on a sheet" in message(supervised_run, "-n", 20000, code=2)


def test_figures(call, refused, tmp_path):
    out = tmp_path / "figures"
    options = ["--out", out, "--limit", 300, "--labelled", 50, "--epochs", 1]
    status, output = call(figures.main, *options)
    assert status == 0, output
    assert "0 of 9 trainings are there" in output and "will take about" in output
    expected = {f"{name}_{figure}.png" for name in POST for figure in ("pz", "qz")}
    expected |= {"gaussian_mixture_supervised_output.png", "overview.png"}
    assert len(expected) == 16, "the post's fifteen and the overview"
    for prior in ("gaussian_mixture", "swiss_roll"):
        expected |= {f"{prior}_semi_supervised_50_{figure}.png" for figure in ("pz", "qz")}
    assert {path.name for path in out.glob("*.png")} == expected
    assert all(is_png(path) for path in out.glob("*.png"))

    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 and rows[2]["prior"] == "swiss_roll"
    assert (rows[2]["baseline_two_sample_accuracy"], rows[2]["label_agreement"]) == ("0.9560", "")
    assert 0 < float(rows[5]["label_agreement"]) < 1 and rows[8]["labels"] == "50"
    lines = (out / "results.md").read_text("utf-8").splitlines()
    assert len(lines) == 2 + 2 + 9 and lines[6].startswith("| swiss roll unsupervised | 1, ")
    assert lines[6].count("|") == lines[2].count("|") and "(0.956)" in lines[6]

    # What is there stays; what is missing is made.
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("checkpoint-*.npz")}
    (out / "uniform_supervised_qz.png").unlink()
    shutil.rmtree(out / "runs/uniform_unsupervised/checkpoints")
    status, output = call(figures.main, *options)
    assert status == 0, output
    assert "8 of 9 trainings are there" in output
    assert "uniform_unsupervised: unfinished; going on with it" in output
    assert (out / "uniform_supervised_qz.png").exists()
    again = {p for p in kept if p.stat().st_mtime_ns != kept[p]}
    assert {path.parent.parent.name for path in again} == {"uniform_unsupervised"}

    message = refused(figures.main, *options, "--seed", 1, code=1)
    assert "trained with seed=0, not 1" in message


def test_figures_of_several_seeds(monkeypatch, call, refused, tmp_path):
    monkeypatch.setattr(figures, "CONFIGURATIONS", [("uniform", "none"), ("uniform", "some")])
    options = ["--out", tmp_path, "--limit", 100, "--epochs", 1, "--seed", 7, "--quiet"]
    status, output = call(figures.main, *options, "--seeds", 2, "--labelled", "20,30,20")
    assert (status, output) == (0, "")
    kinds = ["unsupervised", "semi_supervised_20", "semi_supervised_30"]
    runs = {f"uniform_{kind}{seed}" for kind in kinds for seed in ("", "_seed_8")}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == runs
    assert aae_mx.load(tmp_path / "runs/uniform_unsupervised_seed_8").config.seed == 8
    drawn = {f"uniform_{kind}_{figure}.png" for kind in kinds for figure in ("pz", "qz")}
    assert {path.name for path in tmp_path.glob("*.png")} == drawn | {"overview.png"}

    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["labels"], row["seed"]) for row in rows] == [
        (labels, seed) for labels in ("none", "20", "30") for seed in ("7", "8")
    ]
    errors = [float(row["reconstruction_l2"]) for row in rows[:2]]
    mean, spread = np.mean(errors), np.std(errors, ddof=1)
    text = (tmp_path / "results.md").read_text("utf-8")
    assert "of seeds 7 to 8" in text and f"| {mean:.2f} ± {spread:.2f} (5.32) |" in text

    message = refused(figures.main, *options, "--labelled", "20,0", code=2)
    assert "--labelled 20,0: expected at least 1 labelled image" in message


def test_group(call):
    status, output = call(__main__.main, "--help")
    assert status == 0
    names = "train evaluate figures encode sample plot explore export"
    for name in names.split():
        assert f"\n  {name} " in output
    assert call(__main__.main, "--version")[1].strip().endswith(aae_mx.__version__)


def test_group_ends_in_one_line_too(refused):
    assert "--code-dim 3" in refused(__main__.main, "train", "--code-dim", 3, code=2)
    assert "No such command" in refused(__main__.main, "tarin", code=2)


def test_as_modules(tmp_path):
    """python -m aae_mx.train, interrupted: the checkpoint of the last finished epoch stays."""
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "aae_mx.train", *small_options(epochs=10**6), "--out", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(aae_mx.__file__))},
    )
    deadline = time.monotonic() + 60
    while not (run / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.startswith("Error: stopped after epoch ") and errors.count("\n") == 1
    assert len(read_history(run)["epoch"]) >= 1
    assert aae_mx.load(run).encode(np.zeros((1, 784))).shape == (1, 2)
