import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import small_config, small_options, write_idx

import aae_mx
from aae_mx import __main__, recipes
from aae_mx.commands import encode, evaluate, explore, figures, plot, report, sample, slim, train
from aae_mx.commands import export as export_command
from aae_mx.errors import InputError
from aae_mx.report import post
from aae_mx.runs.checkpoint import checkpoints
from aae_mx.runs.history import read_history

POST = [
    "gaussian_unsupervised",
    "gaussian_mixture_unsupervised",
    "swiss_roll_unsupervised",
    "uniform_unsupervised",
    "gaussian_mixture_supervised",
    "swiss_roll_supervised",
    "uniform_supervised",
]
# Of a run without labels; one with labels also has walks, where pieces of its prior have an axis.
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
        (report.main, "aae_mx.report runs/swiss_roll_supervised"),
        (export_command.main, "aae_mx.export runs/swiss_roll_supervised"),
        (slim.main, "aae_mx.slim runs/swiss_roll_supervised"),
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
        (["--labels"], "--prior gaussian: the prior gaussian has no pieces"),
        (["--labels", 0, "--prior", "uniform"], "--labels 0: expected 'all', 'none' or"),
        (["--labels=-5", "--prior", "uniform"], "-5"),
        (["--labels", "yes", "--prior", "uniform"], "--labels yes: expected"),
        (["--labels", 301, "--prior", "uniform", "--limit", 300], "only 300 to train on"),
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


def test_train_refuses_what_no_memory_holds(refused):
    message = refused(train.main, "--hidden", ",".join(["65536"] * 9), "--limit", 10, code=1)
    assert "the networks, to train them, need about" in message and "are free" in message
    assert not os.listdir("."), "nothing is left behind"


def test_out_of_memory_in_training(refused, monkeypatch):
    def fit(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("aae_mx.training.loop.fit", fit)
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
    assert sorted(path.stem for path in (tmp_path / "drawn").iterdir()) == [*FIGURES, "walks"]


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


@pytest.fixture
def small_networks(monkeypatch):
    """Recipes of small perceptrons."""

    def small(recipe):
        return replace(recipe, options={**recipe.options, "hidden": ((32, 16), "")})

    monkeypatch.setattr(recipes, "TABLE", [small(recipe) for recipe in recipes.TABLE])


@pytest.fixture
def small_figures(monkeypatch):
    """Figures of fewer points, which take less time."""
    from aae_mx.report import figures as run_figures

    monkeypatch.setattr(run_figures, "N_POINTS", 500)
    monkeypatch.setattr(run_figures, "Looks", partial(run_figures.Looks, points=500))


def test_figures_of_the_post():
    configs = post.configurations((1000, 1000))
    files = {file for config in configs for file in post.shown(config)}
    expected = {f"{name}_{figure}.png" for name in POST for figure in ("pz", "qz")}
    expected |= {"gaussian_mixture_supervised_output.png"}
    assert len(expected) == 15
    for prior in ("gaussian_mixture", "swiss_roll"):
        expected |= {f"{prior}_semi_supervised_1000_{figure}.png" for figure in ("pz", "qz")}
    assert files == expected and len(configs) == 9


def test_figures(monkeypatch, call, refused, tmp_path, small_networks, small_figures):
    some = [("swiss_roll", "none"), ("gaussian_mixture", "all"), ("uniform", "some")]
    monkeypatch.setattr(post, "CONFIGURATIONS", some)
    out = tmp_path / "figures"
    options = ["--out", out, "--limit", 300, "--labelled", 50, "--epochs", 1]
    status, output = call(figures.main, *options)
    assert status == 0, output
    assert "0 of 3 trainings are there" in output and "will take about" in output
    names = ["swiss_roll_unsupervised", "gaussian_mixture_supervised", "uniform_semi_supervised_50"]
    expected = {f"{name}_{figure}.png" for name in names for figure in ("pz", "qz")}
    expected |= {"gaussian_mixture_supervised_output.png", "overview.png"}
    assert {path.name for path in out.glob("*.png")} == expected
    assert all(is_png(path) for path in out.glob("*.png"))

    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and rows[0]["prior"] == "swiss_roll"
    assert (rows[0]["baseline_two_sample_accuracy"], rows[0]["label_agreement"]) == ("0.9560", "")
    assert 0 < float(rows[1]["label_agreement"]) < 1 and rows[2]["labels"] == "50"
    lines = (out / "results.md").read_text("utf-8").splitlines()
    assert len(lines) == 2 + 2 + 3 and lines[4].startswith("| swiss roll unsupervised | 1, ")
    assert lines[4].count("|") == lines[2].count("|") and "(0.956)" in lines[4]

    # What is there stays; what is missing is made.
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("checkpoint-*.npz")}
    (out / "gaussian_mixture_supervised_qz.png").unlink()
    shutil.rmtree(out / "runs/swiss_roll_unsupervised/checkpoints")
    status, output = call(figures.main, *options)
    assert status == 0, output
    assert "2 of 3 trainings are there" in output
    assert "swiss_roll_unsupervised: unfinished; going on with it" in output
    assert (out / "gaussian_mixture_supervised_qz.png").exists()
    again = {p for p in kept if p.stat().st_mtime_ns != kept[p]}
    assert {path.parent.parent.name for path in again} == {"swiss_roll_unsupervised"}

    message = refused(figures.main, *options, "--seed", 1, code=1)
    assert "trained with seed=0, not 1" in message


@pytest.mark.slow
def test_figures_of_several_seeds(
    monkeypatch, call, refused, tmp_path, small_networks, small_figures
):
    monkeypatch.setattr(post, "CONFIGURATIONS", [("uniform", "none"), ("uniform", "some")])
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


@pytest.fixture
def too_early(monkeypatch):
    """What takes long, and must not have begun."""

    def fail(*arguments, **options):
        raise AssertionError("the work began before everything was checked")

    for name in (
        *(
            "training.loop.fit",
            "training.loop.resume",
            "training.loop.seconds_per_image",
            "report.evaluate.evaluate",
        ),
        *("model.AAE.encode", "model.AAE.decode"),
    ):
        monkeypatch.setattr(f"aae_mx.{name}", fail)


def test_figures_checks_its_labels_first(refused, too_early, tmp_path):
    out = ["--out", tmp_path / "figures", "--quiet"]
    message = refused(figures.main, *out, "--limit", 1000, code=2)
    assert "--labelled 1000: as many of each class are needed, but class 0 has only" in message
    message = refused(figures.main, *out, "--limit", 300, code=2)
    assert "--labelled 1000: there are only 300 to train on" in message
    message = refused(figures.main, *out, "--labelled", "1000,9", code=2)
    assert "--labelled 9: there are 10 classes" in message
    assert not (tmp_path / "figures").exists()


def test_figures_checks_its_place_first(refused, too_early, tmp_path, monkeypatch):
    out = tmp_path / "figures"
    options = ["--limit", 300, "--labelled", 50, "--epochs", 2, "--quiet", "--out", out]
    out.write_text("mine")
    assert f"{out} is no directory" in refused(figures.main, *options, code=1)
    out.unlink()
    foreign = out / "runs/swiss_roll_semi_supervised_50"
    foreign.mkdir(parents=True)
    (foreign / "letter.txt").write_text("mine")
    message = refused(figures.main, *options, code=1)
    assert f"{foreign}: it is not empty and is not overwritten" in message
    shutil.rmtree(foreign)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=10**9, free=10**8))
        message = refused(figures.main, *options, code=1)
        assert "the checkpoints need about" in message and "only 100.0 MB are free" in message


def test_figures_checks_the_runs_that_are_there_first(too_early, supervised_run, tmp_path):
    """One whose checkpoint is damaged, and one that is unfinished and cannot go on."""
    configs = [small_config(), small_config(prior="swiss_roll", labels="all")]
    run = tmp_path / "runs/swiss_roll_supervised"
    shutil.copytree(supervised_run, run)
    last = checkpoints(run)[-1]
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{last}: "):
        post.draw_figures(configs, tmp_path, quiet=True)
    last.unlink()
    slim.slim(run, force=True)
    with pytest.raises(InputError, match="it cannot go on"):
        post.draw_figures(configs, tmp_path, quiet=True)
    assert os.listdir(tmp_path / "runs") == [run.name]


def test_evaluate_checks_all_runs_first(refused, too_early, supervised_run, tmp_path):
    message = refused(evaluate.main, supervised_run, supervised_run, tmp_path / "none", code=1)
    assert f"{tmp_path / 'none'}: there is no run here" in message


@pytest.mark.parametrize("command", [plot.main, export_command.main])
def test_places_are_checked_before_the_work(refused, too_early, supervised_run, tmp_path, command):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file/below"):
        message = refused(command, supervised_run, "--out", out, code=1)
        assert f"{out}: cannot be made" in message


def test_figures_of_a_run_are_not_drawn_through_a_link(
    refused, too_early, supervised_run, tmp_path
):
    shutil.copytree(supervised_run, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run/figures").symlink_to(tmp_path / "elsewhere")
    options = [
        [plot.main, tmp_path / "run"],
        [train.main, "--resume", tmp_path / "run", "--epochs", 3],
    ]
    for command, *arguments in options:
        message = refused(command, *arguments, code=1)
        assert "is a link that leads out of the run" in message
    assert os.listdir(tmp_path / "elsewhere") == []


def test_figures_that_cannot_be_drawn_after_a_training(call, supervised_run, tmp_path):
    """The training is not lost, and a line says so."""
    shutil.copytree(supervised_run, tmp_path / "run")
    (tmp_path / "run/figures/pz.png").mkdir(parents=True)
    options = ["--resume", tmp_path / "run", "--epochs", 3, "--quiet"]
    status, message = call(train.main, *options)
    assert (status, message.count("\n")) == (0, 1) and message.startswith("Warning: ")
    assert "pz.png: cannot be written" in message and "the run is whole" in message
    assert f"python -m aae_mx.plot {tmp_path / 'run'}" in message
    assert (tmp_path / "run/figures/qz.png").exists()
    assert aae_mx.load(tmp_path / "run").epoch == 3


def test_group_without_a_command_is_its_help(call):
    """Click ends with 0 up to 8.1, and with 2 since."""
    status, output = call(__main__.main)
    assert status in (0, 2) and output == call(__main__.main, "--help")[1]
    assert output.startswith("Usage: ") and len(output.splitlines()) > 10


def test_help_through_the_group(call):
    status, output = call(__main__.main, "train", "--help")
    assert status == 0 and output.startswith("Usage: ") and "--generator-rate" in output


def test_help_where_signs_are_missing(monkeypatch):
    file = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr("sys.stdout", file)
    with pytest.raises(SystemExit) as end:
        train.main(["--help"])
    assert end.value.code == 0
    file.seek(0)
    assert "?(2 / inputs)" in " ".join(file.read().split())


def test_group(call):
    status, output = call(__main__.main, "--help")
    assert status == 0
    names = "train evaluate figures paper encode sample plot report explore export slim"
    for name in names.split():
        assert f"\n  {name} " in output
    assert call(__main__.main, "--version")[1].strip().endswith(aae_mx.__version__)


def test_group_ends_in_one_line_too(refused):
    assert "--code-dim 1" in refused(__main__.main, "train", "--code-dim", 1, code=2)
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
