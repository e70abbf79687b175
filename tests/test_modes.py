"""The mode classification, and priors and modes of the user's own, through all commands."""

import importlib.util
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import small_config, small_options
from test_resume import assert_same_run, stop_after

import aae_mx
from aae_mx.commands import encode, evaluate, explore, plot, sample, slim, train
from aae_mx.commands import export as export_command
from aae_mx.config import OF_DATA, mode_settings
from aae_mx.data import load_dataset
from aae_mx.errors import ConfigError, InputError, Interrupted
from aae_mx.model import load_data, read_run
from aae_mx.plugins import load_plugin
from aae_mx.report.evaluate import evaluate as measure
from aae_mx.runs.history import read_history

EXAMPLES = Path(__file__).parent.parent / "examples"
STORED = Path(__file__).parent / "runs"
CLASSIFICATION = {"mode": "classification", "labels": 100, "batch_size": 40, "style_dim": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "classification"
    settings = {**CLASSIFICATION, "validation": 100, "limit": 500, "hidden": (200,), "epochs": 12}
    aae_mx.fit(small_config(**settings), path, quiet=True)
    return path


def test_classification_learns(run):
    history = read_history(run)
    assert list(history)[:3] == ["epoch", "reconstruction_loss", "reconstruction_l2"]
    assert history["validation_error"][-1] < 0.35 < history["validation_error"][0]
    assert history["reconstruction_l2"][-1] < history["reconstruction_l2"][0]
    model = aae_mx.load(run)
    images, labels = load_data(model).split("test")
    kinds = model.classify(images)
    assert kinds.shape == (500, 10) and kinds.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (kinds.argmax(axis=1) == labels).mean() > 0.65
    # The last 100 training images were kept out, and 100 of the rest have a label.
    from aae_mx.training.batches import training_labels

    known = training_labels(model.config, load_dataset(model.config))
    assert len(known) == 400 and (known < 10).sum() == 100


def test_the_python_interface(run):
    model = aae_mx.load(run)
    codes = np.zeros((3, 4))
    threes = model.decode(codes, labels=3)
    assert threes.shape == (3, 28, 28) and (threes[0] == threes[1]).all()
    one_hot = np.eye(10)[[3, 3, 3]]
    np.testing.assert_array_equal(model.decode(codes, one_hot), threes)
    assert (model.decode(codes, labels=[3, 4, 5])[1] != threes[1]).any()
    assert model.sample(5, labels=3, seed=0).shape == (5, 28, 28)
    images = load_data(model).test_images[:4]
    codes, kinds = model.represent(images)
    np.testing.assert_array_equal(codes, model.encode(images))
    np.testing.assert_array_equal(model.reconstruct(images), model.decode(codes, kinds))
    for labels, message in (
        (None, "takes a label beside each code"),
        (10, "label 10: expected 0 to 9"),
        ([0.5] * 4, "expected integers"),
        ([1, 2], r"labels of shape \(2,\)"),
    ):
        with pytest.raises(InputError, match=message):
            model.decode(codes, labels)
    for labels, message in ((10, "label 10: expected 0 to 9"), ([1, 2], r"labels of shape \(2,\)")):
        with pytest.raises(InputError, match=message):
            model.sample_prior(3, labels)


def test_other_modes_do_not_classify(supervised_run):
    model = aae_mx.load(supervised_run)
    with pytest.raises(InputError, match="the mode label_prior does not classify"):
        model.classify(np.zeros((1, 784)))
    with pytest.raises(InputError, match="labels 3: this run's decoder takes codes alone"):
        model.decode(np.zeros((1, 2)), 3)


def test_all_commands_take_it(run, call, refused, tmp_path):
    pytest.importorskip("onnx")
    status, output = call(plot.main, run, "--out", tmp_path / "figures")
    assert status == 0, output
    names = {"qz", "styles", "samples", "confusion", "reconstructions", "losses"}
    assert {file.stem for file in (tmp_path / "figures").iterdir()} == names
    status, output = call(evaluate.main, run, "--json", tmp_path / "numbers.json")
    assert (
        status == 0
        and "classification: told wrong" in output
        and "told wrong by class: 0 " in output
    )
    (numbers,) = json.loads((tmp_path / "numbers.json").read_text())["runs"]
    errors = numbers["class_errors"]
    assert set(errors) == set("0123456789") and 0 < numbers["metrics"]["test_error"] < 0.35
    out = tmp_path / "codes.npz"
    assert call(encode.main, run, "--out", out)[0] == 0
    with np.load(out) as arrays:
        assert arrays["qy"].shape == (500, 10) and arrays["qz"].shape == (500, 4)
        wrong = (arrays["qy"].argmax(axis=1) != arrays["y"]).mean()
        assert wrong == pytest.approx(numbers["metrics"]["test_error"])
        assert np.abs(arrays["xr"] - arrays["x"]).mean() < 0.2
    assert call(sample.main, run, "--label", "3", "--out", tmp_path / "threes.npz")[0] == 0
    with np.load(tmp_path / "threes.npz") as arrays:
        assert set(arrays["labels"]) == {3}
    assert call(explore.main, run, "--out", tmp_path / "page.html")[0] == 0
    status, output = call(export_command.main, run, "--out", tmp_path / "export")
    assert status == 0 and "classifier.onnx" in output
    copy = shutil.copytree(run, tmp_path / "copy")
    assert call(slim.main, copy)[0] == 0
    np.testing.assert_array_equal(
        aae_mx.load(copy).classify(np.ones((1, 784))), aae_mx.load(run).classify(np.ones((1, 784)))
    )


def test_the_exported_classifier_is_the_models(run, call, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    assert call(export_command.main, run, "--out", tmp_path)[0] == 0
    model = aae_mx.load(run)
    images = np.random.default_rng(0).random((5, 784), np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "classifier.onnx"))
    (kinds,) = session.run(["kinds"], {"images": images})
    np.testing.assert_allclose(kinds, model.classify(images), atol=1e-5)
    codes = model.encode(images)
    session = onnxruntime.InferenceSession(str(tmp_path / "decoder.onnx"))
    (decoded,) = session.run(["images"], {"codes": codes, "kinds": kinds})
    np.testing.assert_allclose(decoded, model.reconstruct(images).reshape(5, -1), atol=1e-5)
    main = runpy.run_path(str(EXAMPLES / "elsewhere.py"))["main"]
    styles, drawn, _ = main(tmp_path, tmp_path / "drawn")
    expected = model.decode(styles, labels=np.arange(100) % 10).reshape(100, -1)
    np.testing.assert_allclose(drawn, expected, atol=1e-5)


def test_measures_of_few_images(run):
    result = measure(aae_mx.load(run), n=30)
    assert set(result["metrics"]) == set(result["ideal"])
    assert result["ideal"]["test_error"] == 0 and result["ideal"]["kind_confidence"] == 1


@pytest.mark.parametrize(
    "settings",
    [CLASSIFICATION, {**CLASSIFICATION, "labels": "all", "recipe": "paper", "prior": "uniform"}],
)
def test_stopped_and_resumed_is_unbroken(monkeypatch, tmp_path, settings):
    config = small_config(**settings)
    aae_mx.fit(config, tmp_path / "whole", quiet=True)
    stop_after(monkeypatch, 5)
    with pytest.raises(Interrupted):
        aae_mx.fit(config, tmp_path / "run", quiet=True)
    monkeypatch.undo()
    aae_mx.resume(tmp_path / "run", quiet=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_learning_rates_of_the_paper():
    from aae_mx.training.optimizers import Learner

    config = small_config(**CLASSIFICATION, recipe="paper")
    learn = Learner(aae_mx.model.AAE(config, (28, 28), "0123456789").mode)
    scales = []
    for epoch in (1, 50, 51, 1000, 1001):
        learn.at(epoch, 0.5)
        scales.append(learn.scale)
    assert scales == [1.0, 1.0, 0.1, 0.1, 0.01]
    momenta = {name: o.options["momentum"] for name, o in learn.optimizers.items()}
    games = {"kind", "style", "generator"}
    assert momenta == {name: 0.1 if name in games else 0.9 for name in momenta}


def test_help_shows_one_mode(call):
    _, of_the_post = call(train.main, "--help")
    status, output = call(train.main, "--mode", "classification", "--help")
    assert status == 0 and "--style-dim" in output and "--code-dim" not in output
    # Whatever was asked for before in the same process.
    assert call(train.main, "--help")[1] == of_the_post
    assert "--code-dim" in of_the_post and "--style-dim" not in of_the_post
    for heading in ("What is trained:", "Data:", "Networks (classification):", "Run:"):
        assert heading in output


def test_validation_images_are_not_trained_on(monkeypatch, refused, tmp_path):
    """Of every mode; they are the last of the training images."""
    from aae_mx.training import loop

    given = []
    train_epoch = loop.train_epoch

    def watched(mode, learn, images, *others):
        given.append(images.asnumpy())
        return train_epoch(mode, learn, images, *others)

    monkeypatch.setattr(loop, "train_epoch", watched)
    config = small_config(validation=60, epochs=1)
    model = aae_mx.fit(config, tmp_path / "run", quiet=True)
    images = load_dataset(config).train_images
    np.testing.assert_array_equal(given[0], images[:240].reshape(240, -1))
    history = read_history(tmp_path / "run")
    assert history["validation_l2"] == [
        pytest.approx(model.error_norms(images[240:]).mean(), rel=1e-4)
    ]
    options = ["--limit", 300, "--validation", 300]
    message = refused(train.main, *options, "--out", tmp_path / "no", code=2)
    assert "--validation 300: expected less than the 300 training images" in message
    assert not (tmp_path / "no").exists()


# Stored runs of earlier formats.


@pytest.mark.parametrize("path", sorted(STORED.glob("format-*/*")), ids=lambda p: p.name)
def test_stored_runs_are_read(path, call, tmp_path):
    """Runs are a promise: what an earlier version wrote loads, and gives what it gave."""
    run = shutil.copytree(path, tmp_path / path.name)
    model = aae_mx.load(run)
    stored = json.loads((path / "config.json").read_text())["config"]
    for name, value in model.config.to_dict().items():
        # What has come since has no effect.
        default = mode_settings(model.config.mode)[name].default
        default = OF_DATA["images"].get(name, default)
        assert value == stored.get(name, default) or list(value) == stored[name]
    expected = json.loads((path / "expected.json").read_text())
    dataset = load_data(model)
    codes = model.encode(dataset.test_images[:3])
    np.testing.assert_allclose(codes, expected["codes"], rtol=1e-3, atol=1e-5)
    assert model.reconstruct(dataset.test_images[:3]).mean() == pytest.approx(
        expected["decoded"], rel=1e-3
    )
    assert call(evaluate.main, run)[0] == 0
    assert call(plot.main, run)[0] == 0
    assert call(encode.main, run, "--out", tmp_path / "codes.npz")[0] == 0
    assert call(explore.main, run)[0] == 0
    if importlib.util.find_spec("onnx"):
        assert call(export_command.main, run)[0] == 0
    if read_run(run, {}).slim:
        with pytest.raises(InputError, match="removed by aae_mx.slim"):
            aae_mx.resume(run, quiet=True, epochs=2)
    else:
        before = read_history(run)
        assert aae_mx.resume(run, quiet=True, epochs=2).epoch == 2
        # Under the headings that it had, whatever the order of today.
        after = read_history(run)
        assert list(after) == list(before)
        assert {name: values[:1] for name, values in after.items()} == before
        for name, (_, second) in after.items():
            if name.endswith(("_accuracy", "_error", "_fooled")):
                assert 0 <= second <= 1, name
        assert json.loads((run / "config.json").read_text())["format"] == 7


def test_the_settings_of_another_run_are_a_start(call, supervised_run, tmp_path):
    """Those that were given for it; the rest, and what an option says, follows anew."""
    options = ["--config", supervised_run / "config.json", "--labels", "none", "--epochs", 1]
    status, output = call(train.main, *options, "--no-figures", "--out", tmp_path / "run")
    assert status == 0, output
    config = aae_mx.load(tmp_path / "run").config
    expected = small_config(prior="swiss_roll", labels="none", epochs=1)
    assert config == expected and config.given == expected.given


# Priors and modes of the user's own.


def aae(*arguments):
    command = [sys.executable, "-m", "aae_mx", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_own_prior(call, tmp_path):
    """And in a process that has not loaded it, the run ends in a line."""
    options = [*small_options(epochs=1, labels=50), "--prior", "moons", "--no-figures"]
    plugin, run = ["--plugin", EXAMPLES / "own_prior.py"], tmp_path / "run"
    status, output = call(train.main, *plugin, *options, "--moons-radius", 3, "--out", run)
    assert status == 0, output
    described = json.loads((run / "config.json").read_text())["config"]
    assert (described["prior"], described["moons_radius"], described["moons_width"]) == (
        *("moons", 3.0),
        0.1,
    )
    assert "own_prior" not in (run / "config.json").read_text()
    result = aae("evaluate", run)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "prior='moons': expected one of gaussian, " in result.stderr
    assert "your own comes with --plugin FILE" in result.stderr
    out = tmp_path / "samples.npz"
    assert call(sample.main, *plugin, run, "--label", 3, "--out", out)[0] == 0


def test_options_of_an_own_prior(call, refused, tmp_path):
    plugin = ["--plugin", EXAMPLES / "own_prior.py", "--prior", "moons"]
    status, output = call(train.main, *plugin, "--help")
    assert status == 0 and "--moons-radius FLOAT" in output and "[default: 2.0]" in output
    message = refused(train.main, *plugin, "--moons-radius", 0, code=2)
    assert "--moons-radius 0.0: expected more than 0" in message
    options = ["--limit", 20, "--code-dim", 4, "--out", tmp_path / "run"]
    message = refused(train.main, *plugin, *options, code=1)
    assert "code_dim=4: the moons lie in a plane, expected 2" in message
    assert not (tmp_path / "run").exists()


def test_own_mode(call, tmp_path):
    run, plugin = tmp_path / "run", ["--plugin", EXAMPLES / "own_mode.py"]
    options = [*plugin, "--mode", "denoising", *small_options(epochs=1), "--pixel-noise", 0.1]
    status, output = call(train.main, *options, "--out", run, "--quiet", "--no-figures")
    assert (status, output) == (0, "")
    result = aae("evaluate", run)
    assert result.returncode == 1 and "mode='denoising': expected one of " in result.stderr
    status, output = call(train.main, *plugin, "--resume", run, "--epochs", 2)
    assert len(list((run / "figures").iterdir())) == 7
    assert status == 0 and "epoch 2/2  reconstruction loss" in output
    assert len((EXAMPLES / "own_mode.py").read_text().splitlines()) <= 80


def test_own_prior_as_an_object():
    module = load_plugin(EXAMPLES / "own_prior.py")
    assert load_plugin(EXAMPLES / "own_prior.py") is module
    config = aae_mx.Config(prior=module.Moons(radius=2.5), labels="all")
    assert (config.prior, config.moons_radius) == ("moons", 2.5)
    assert config.prior_object == module.Moons(radius=2.5)
    assert config.replace(moons_radius=1).prior_object == module.Moons(radius=1.0)
    codes, labels = module.Moons().sample(1000, np.random.default_rng(0))
    assert codes.shape == (1000, 2) and set(labels) == set(range(10))
    with pytest.raises(ConfigError, match="moons_radius=3: it shapes the moons prior, but"):
        aae_mx.Config(moons_radius=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("def f(:\n", "line 1: SyntaxError"),
        ("from aae_mx.priors import Prior\nclass P(Prior):\n    name = 'uniform'\n", "there is a"),
        ("from aae_mx.modes import Mode\nclass M(Mode):\n    name = 'label_prior'\n", "there is a"),
        ("from aae_mx.priors import Prior\nclass P(Prior):\n    name = 'p'\n", "no method draw"),
        (
            "from aae_mx.priors import Prior\nclass P(Prior):\n    name = 'p'\n"
            "    has_axes = True\n    draw = print\n",
            "no method walk",
        ),
        (
            "from aae_mx.modes import Mode\nclass M(Mode):\n    name = 'm'\n"
            "    decodes_labels = True\n    build = step = print\n",
            "no method represent",
        ),
        (
            "from aae_mx.modes import Mode\nclass M(Mode):\n    name = 'm'\n",
            "no method build, step",
        ),
    ],
)
def test_plugins_that_fail_end_in_one_line(refused, tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    told = refused(train.main, "--plugin", tmp_path / "mine.py", "--limit", 10, code=1)
    assert message in told
    for missing in (tmp_path / "nowhere.py", tmp_path):
        told = refused(plot.main, "--plugin", missing, tmp_path, code=1)
        assert "expected a Python file (.py) with priors or modes" in told
