"""The modes of the paper's sections 4, 6 and 7, through the package and all commands."""

import importlib.util
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from conftest import small_config
from test_resume import assert_same_run, stop_after

import aae_mx
from aae_mx.commands import encode, evaluate, explore, plot, sample, slim, train
from aae_mx.commands import export as export_command
from aae_mx.data import load_dataset
from aae_mx.errors import ConfigError, InputError, Interrupted
from aae_mx.model import AAE, load_data
from aae_mx.networks.losses import ConsistencyLoss, HeadCost, InformationLoss
from aae_mx.report import metrics, plotting
from aae_mx.report.evaluate import evaluate as measure
from aae_mx.runs.history import read_history

EXAMPLES = Path(__file__).parent.parent / "examples"
# What each mode learns on 1,000 images, and the figures that it has.
COMMON = {"limit": 1000, "epochs": 8, "hidden": (200, 100), "batch_size": 50, "seed": 1}
# Without what makes learning slow in the beginning.
CALM = {"hidden_noise": 0.0, "image_bend": 0.0, "epochs": 30}
RUNS = {
    "style": {"style_dim": 4, "epochs": 30},
    "clustering": {**CALM, "clusters": 16, "validation": 300},
    "reduction": {"labels": 100, "code_dim": 2, "validation": 300},
    "reduction, fixed": {
        **{"mode": "reduction", "labels": "all", "code_dim": 10, "fixed_heads": True},
    },
    "reduction, clusters": {**CALM, "mode": "reduction", "clusters": 12, "code_dim": 3},
}
FIGURES = {
    "style": {"qz", "styles", "samples", "reconstructions", "interpolations", "losses"},
    "clustering": {"qz", "clusters", "samples", "reconstructions", "losses"},
    "reduction": {
        *("pz", "qz", "output", "samples", "reconstructions", "interpolations", "losses"),
        "confusion",
    },
}


def config_of(name, **settings):
    return small_config(**{**COMMON, "mode": name, **RUNS[name], **settings})


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if "," in name else name for name in RUNS],
)
def run(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("paper") / request.param.replace(", ", "_")
    aae_mx.fit(config_of(request.param), path, quiet=True)
    return path


def test_all_commands_take_it(run, call, tmp_path):
    pytest.importorskip("onnx")
    model = aae_mx.load(run)
    mode = model.config.mode
    assert call(plot.main, run, "--out", tmp_path / "figures")[0] == 0
    expected = FIGURES[mode] - ({"confusion"} if model.config.labels_kind == "none" else set())
    if mode in FIGURES:
        drawn = {file.stem for file in (tmp_path / "figures").iterdir()}
        assert drawn == (expected if mode == "reduction" else FIGURES[mode])
    status, output = call(evaluate.main, run, "--json", tmp_path / "numbers.json")
    assert status == 0, output
    (numbers,) = json.loads((tmp_path / "numbers.json").read_text())["runs"]
    assert numbers["split"] == "held-out" and set(numbers["metrics"]) == set(numbers["ideal"])
    out = tmp_path / "codes.npz"
    assert call(encode.main, run, "--out", out)[0] == 0
    with np.load(out) as arrays:
        n = model.code_dim
        assert arrays["qz"].shape == arrays["pz"].shape == (1000, n)
        assert np.abs(arrays["xr"] - arrays["x"]).mean() < 0.2
        if model.mode.classifies:
            assert arrays["qy"].shape == (1000, len(model.mode.kinds))
    kind = model.mode.kinds[2]
    assert call(sample.main, run, "--label", kind, "--out", tmp_path / "some.npz")[0] == 0
    with np.load(tmp_path / "some.npz") as arrays:
        assert set(arrays["labels"]) == {2}
    assert call(explore.main, run, "--out", tmp_path / "page.html")[0] == 0
    status, output = call(export_command.main, run, "--out", tmp_path / "export")
    assert status == 0 and ("classifier.onnx" in output) == model.mode.classifies, output
    described = json.loads((tmp_path / "export" / "model.json").read_text())
    assert described["kinds"] == list(model.mode.kinds)
    if importlib.util.find_spec("onnxruntime"):
        drawn = runpy.run_path(str(EXAMPLES / "elsewhere.py"))["main"]
        codes, images, again = drawn(tmp_path / "export", tmp_path / "drawn")
        kinds = np.arange(100) % len(model.mode.kinds)
        expected = model.decode(codes, kinds if model.mode.decodes_labels else None)
        np.testing.assert_allclose(images, expected.reshape(100, -1), atol=1e-4)
        np.testing.assert_allclose(again, model.encode(images), atol=1e-3)
    assert call(slim.main, run)[0] == 0
    np.testing.assert_array_equal(
        aae_mx.load(run).encode(np.ones((1, 784))), model.encode(np.ones((1, 784)))
    )


def test_it_has_learnt(run):
    """Far better than one that names the most frequent class, or any image by chance."""
    model = aae_mx.load(run)
    split = "validation" if model.config.validation else "test"
    found = measure(model, split=split)["metrics"]
    untrained = AAE(model.config, model.image_shape, model.classes)
    before = measure(untrained, dataset=load_data(model))["metrics"]
    assert found["reconstruction_l2"] < 0.8 * before["reconstruction_l2"]
    if model.config.mode == "style":
        assert found["sample_accuracy"] > 0.3 > before["sample_accuracy"]
    elif model.config.labels_kind == "none":
        assert found["majority_error"] < 0.6 < before["majority_error"]
    else:
        assert found["test_error"] < 0.25 < before["test_error"]


@pytest.mark.parametrize("name", ["style", "clustering", "reduction"])
def test_stopped_and_resumed_is_unbroken(monkeypatch, tmp_path, name):
    config = config_of(name, limit=300, epochs=2, hidden=(30,), validation=0)
    aae_mx.fit(config, tmp_path / "whole", quiet=True)
    stop_after(monkeypatch, 4)
    with pytest.raises(Interrupted):
        aae_mx.fit(config, tmp_path / "run", quiet=True)
    monkeypatch.undo()
    aae_mx.resume(tmp_path / "run", quiet=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "style", "labels": 100}, "labels=100: the decoder needs the label of every"),
        ({"mode": "style", "labels": "none"}, "labels='none': the decoder needs the label"),
        ({"mode": "clustering", "labels": "all"}, "labels='all': it is no setting of the mode"),
        ({"mode": "clustering", "clusters": 1}, "clusters=1: expected at least 2"),
        ({"mode": "reduction", "head_distance": 0}, "head_distance=0.0: expected more than 0"),
        (
            {"mode": "reduction", "labels": 100, "clusters": 5},
            "clusters=5: it is for trainings without labels",
        ),
        (
            {"mode": "reduction", "fixed_heads": True, "head_rate": 0.1},
            "head_rate=0.1: it is for --fixed-heads False",
        ),
        ({"mode": "reduction", "recipe": "paper"}, "recipe='paper': expected one of default"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        aae_mx.Config(**settings)


def test_fixed_heads_need_an_axis_each(tmp_path):
    config = config_of("reduction", labels="all", fixed_heads=True, code_dim=4)
    with pytest.raises(ConfigError, match="code_dim=4: expected 10, one dimension for each"):
        aae_mx.fit(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_style_is_told_the_labels(call, tmp_path):
    model = AAE(config_of("style"), (28, 28), "0123456789")
    images = load_dataset(model.config).test_images[:4]
    with pytest.raises(InputError, match="takes a label beside each code; give labels"):
        model.reconstruct(images)
    assert model.reconstruct(images, [1, 2, 3, 4]).shape == (4, 28, 28)
    # The label comes from the caller, so another one gives another image.
    one, other = (model.reconstruct(images, np.full(4, label)) for label in (1, 2))
    assert (one != other).any()
    from PIL import Image

    (tmp_path / "flat").mkdir()
    for i in range(4):
        Image.fromarray(np.full((28, 28), 60 * i, np.uint8)).save(tmp_path / "flat" / f"{i}.png")
    options = ["--mode", "style", "--images", tmp_path / "flat", "--image-size", 28]
    status, output = call(train.main, *options, "--out", tmp_path / "run")
    assert status == 2 and "have none; put them into one sub-folder per class" in output


def test_encode_strangers_without_labels(call, tmp_path):
    """Style cannot give them back, and says nothing wrong: the arrays are left out."""
    from PIL import Image

    run = tmp_path / "run"
    aae_mx.fit(config_of("style", limit=60, epochs=1), run, quiet=True)
    (tmp_path / "flat").mkdir()
    for i in range(4):
        Image.fromarray(np.full((28, 28), 60 * i, np.uint8)).save(tmp_path / "flat" / f"{i}.png")
    out = tmp_path / "codes.npz"
    assert call(encode.main, run, "--images", tmp_path / "flat", "--out", out)[0] == 0
    with np.load(out) as arrays:
        assert "x" in arrays and "xr" not in arrays and arrays["qz"].shape == (4, 4)


def test_the_history_of_clusters_names_them(run):
    """By the surest image of each, as ``evaluate`` does."""
    model = aae_mx.load(run)
    if not model.config.validation:
        pytest.skip("no images were kept out")
    found = measure(model, split="validation")["metrics"]
    error = found["test_error" if "test_error" in found else "cluster_error"]
    assert read_history(run)["validation_error"][-1] == pytest.approx(error, abs=1e-5)


def test_validation_images_are_measured_on(tmp_path, call, refused):
    run = tmp_path / "run"
    config = config_of("reduction", limit=200, labels=20, epochs=1, validation=40)
    model = aae_mx.fit(config, run, quiet=True)
    data = load_data(model)
    wrong = model.classify(data.train_images[-40:]).argmax(axis=1) != data.train_labels[-40:]
    assert measure(model, split="validation")["metrics"]["test_error"] == wrong.mean()
    status, output = call(evaluate.main, run, "--split", "validation")
    assert status == 0 and "epoch 1, 40 validation images" in output
    other = config.replace(validation=0)
    aae_mx.fit(other, tmp_path / "b", quiet=True)
    message = refused(evaluate.main, tmp_path / "b", "--split", "validation", code=1)
    assert "no images were kept out of its training; train with --validation N" in message


# Measures, by hand.


def test_names_of_clusters():
    kinds = np.array([[0.6, 0.3, 0.1], [0.9, 0.1, 0.0], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1]])
    labels = np.array([1, 0, 1, 1])
    # The second image is the surest of cluster 0; most of its images are ones. None is of 2.
    assert metrics.labels_by_example(kinds, labels).tolist() == [0, 1, 1]
    assert metrics.labels_by_majority(kinds, labels, 2).tolist() == [1, 1, 1]


def test_matched_error():
    answers, labels = np.array([2, 2, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2, 1])
    assert metrics.matched_error(answers, labels, 3) == pytest.approx(1 / 7)
    # Two clusters of one label: one of them is wrong.
    assert metrics.matched_error(np.array([0, 0, 1, 1]), np.zeros(4, int), 2) == 0.5


def test_linear_accuracy():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    codes = rng.standard_normal((400, 3))
    assert metrics.linear_accuracy(codes, labels, codes, labels) < 0.62
    codes[:, 1] += 10 * labels
    assert metrics.linear_accuracy(codes, labels, codes, labels) == 1
    assert metrics.linear_accuracy(codes, np.zeros(400, int), codes, labels) is None


def nd(array):
    from aae_mx.backend import mx

    return mx.nd.array(array)


def test_head_cost():
    heads = np.array([[0, 0], [3, 4], [30, 0]])
    # The first two are 5 apart, and the third is far from both.
    assert HeadCost(3, 8.0)(nd(heads)).asscalar() == pytest.approx(3, abs=1e-4)
    assert HeadCost(3, 4.0)(nd(heads)).asscalar() == pytest.approx(0, abs=1e-4)
    together = HeadCost(2, 8.0)(nd(np.zeros((2, 2)))).asscalar()
    assert together == pytest.approx(8, abs=1e-2) and np.isfinite(together)


def test_information_and_consistency():
    sure, unsure = np.log(np.eye(4) + 1e-9), np.zeros((4, 4))
    # Four kinds, evenly: H(y) is log 4.
    assert InformationLoss(1.0)(nd(sure)).asscalar() == pytest.approx(-np.log(4), abs=1e-4)
    assert InformationLoss(1.0)(nd(unsure)).asscalar() == pytest.approx(0, abs=1e-4)
    assert InformationLoss(4.0)(nd(sure[[0, 0, 0, 0]])).asscalar() == pytest.approx(0, abs=1e-4)
    y = np.array([[0.5, 0.5], [1.0, 0.0]])
    logits = np.log([[0.25, 0.75], [0.5, 0.5]])
    expected = -(0.5 * np.log(0.25) + 0.5 * np.log(0.75) + np.log(0.5)) / 2
    assert ConsistencyLoss()(nd(logits), nd(y)).asscalar() == pytest.approx(expected, rel=1e-5)


def test_heads_lie_on_a_circle():
    heads = 5 * np.eye(10, dtype=np.float32)
    points, _ = plotting.project(heads, plotting.plane_of_heads(heads))
    radii = np.linalg.norm(points, axis=1)
    np.testing.assert_allclose(radii, radii[0], rtol=1e-5)
    turns = np.unwrap(np.arctan2(points[:, 1], points[:, 0]))
    np.testing.assert_allclose(np.diff(turns), 2 * np.pi / 10, rtol=1e-5)
    assert plotting.plane_of_heads(None) is None
    assert plotting.plane_of_heads(np.zeros((4, 2))) is None
