import dataclasses
import json
import math

import numpy as np
import pytest
from conftest import small_config

import aae_mx
from aae_mx.commands import evaluate
from aae_mx.data import Dataset
from aae_mx.errors import InputError
from aae_mx.model import AAE
from aae_mx.report import likelihood as parzen


def direct(images, samples, sigma):
    """The same without any care for memory or overflow, in float64."""
    distances = ((images[:, None].astype(float) - samples[None]) ** 2).sum(axis=2)
    densities = np.exp(-distances / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) ** 6
    return np.log(densities.mean(axis=1))


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0])
def test_log_density(monkeypatch, sigma):
    """Also in parts, of samples and of images."""
    rng = np.random.default_rng(0)
    images, samples = (rng.random((n, 6), np.float32) for n in (11, 50))
    expected = direct(images, samples, sigma)
    for at_once in (100, 50, 7):
        monkeypatch.setattr(parzen, "SAMPLES_AT_ONCE", at_once)
        monkeypatch.setattr(parzen, "IMAGES_AT_ONCE", at_once // 2)
        seen = []
        found = parzen.log_density(images, samples.__getitem__, 50, sigma, seen.append)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert seen[-1] == 50 and len(seen) == math.ceil(50 / at_once)


def test_it_does_not_underflow():
    """A single sample far away: −784 / 2σ² − 784 log(σ √(2π)), of which e to the power is 0."""
    found = parzen.log_density(
        np.ones((1, 784), np.float32), lambda part: np.zeros((1, 784), np.float32), 1, 0.1
    )
    expected = -784 / 0.02 - 784 * math.log(0.1 * math.sqrt(2 * math.pi))
    assert found[0] == pytest.approx(expected, rel=1e-6)


def test_the_width_is_that_of_the_data():
    """Images that lie 0.2 around the samples in each of 50 dimensions."""
    rng = np.random.default_rng(0)
    samples = rng.random((20, 50), np.float32)
    images = samples + 0.2 * rng.standard_normal((20, 50)).astype(np.float32)
    found = parzen.best_sigma(images, samples.__getitem__, 20)
    assert found == pytest.approx(0.2, abs=0.01)
    # It is the best of all between two steps, not the nearer of these.
    fine = np.linspace(0.19, 0.21, 401)
    densities = parzen.log_density(images, samples.__getitem__, 20, fine).mean(axis=1)
    assert found == pytest.approx(fine[densities.argmax()], abs=2e-4)
    assert np.abs(parzen.SIGMAS - found).min() > 1e-3


@pytest.mark.parametrize(("scale", "end"), [(0.01, 0.1), (10.0, 1.0)])
def test_the_width_is_one_that_is_tried(scale, end):
    """Also where a narrower or a wider one would be better."""
    rng = np.random.default_rng(0)
    samples = rng.random((20, 50), np.float32)
    images = samples + scale * rng.standard_normal((20, 50)).astype(np.float32)
    assert parzen.best_sigma(images, samples.__getitem__, 20) == pytest.approx(end)


def test_several_widths_at_once():
    """Between two of them about half a nat of MNIST's images is lost: 784 (ln step / 2)²."""
    rng = np.random.default_rng(0)
    images, samples = (rng.random((n, 6), np.float32) for n in (11, 50))
    found = parzen.log_density(images, samples.__getitem__, 50, parzen.SIGMAS)
    assert found.shape == (46, 11)
    for sigma, densities in zip(parzen.SIGMAS, found):
        np.testing.assert_allclose(densities, direct(images, samples, sigma), atol=1e-4)
    assert 784 * (math.log(parzen.SIGMAS[1] / parzen.SIGMAS[0]) / 2) ** 2 < 0.6
    # Goodfellow's are among them.
    np.testing.assert_allclose(parzen.SIGMAS[::5], np.logspace(-1, 0, 10))


def test_of_a_model():
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(1100, 4, 5)).astype(np.uint8)
    labels = np.arange(1100) % 3
    dataset = Dataset(images, labels, images[:30], labels[:30], ("a", "b", "c"))
    for settings in ({}, {"mode": "classification", "labels": "all"}):
        model = AAE(small_config(**settings), (4, 5), dataset.classes)
        found = parzen.likelihood(model, dataset, n_samples=200)
        assert found == parzen.likelihood(model, dataset, n_samples=200)
        # The held-out images are among the training images, and none like them among the samples.
        assert found["ceiling"] > found["log_density"] and found["ceiling_samples"] == 100
        assert 0.1 <= found["sigma"] <= 1 and found["standard_error"] > 0
    few = Dataset(images[:1000], labels[:1000], images[:30], labels[:30], dataset.classes)
    with pytest.raises(InputError, match="1000 training images: more than 1000 are needed"):
        parzen.likelihood(model, few)


def test_of_validation_images(monkeypatch):
    """They decide, so the held-out images must not: these may be anything."""
    monkeypatch.setattr(parzen, "N_VALIDATION", 100)
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(1100, 4, 5)).astype(np.uint8)
    labels = np.arange(1100) % 3
    found = []
    for test in (images[:30], 255 - images[:30]):
        dataset = Dataset(images, labels, test, labels[:30], ("a", "b", "c"))
        model = AAE(small_config(validation=140), (4, 5), dataset.classes)
        found.append(parzen.likelihood(model, dataset, 200, split="validation"))
    assert found[0] == found[1]
    # Of the 140 the last 100 choose the width; 40 are measured.
    measured = dataclasses.replace(dataset, test_images=images[-140:-100])
    assert found[0] == parzen.likelihood(model, measured, 200)
    model = AAE(small_config(validation=101), (4, 5), dataset.classes)
    with pytest.raises(InputError, match="1 validation images to measure"):
        parzen.likelihood(model, dataset, split="validation")


def test_command(call, refused, supervised_run, tmp_path, monkeypatch):
    monkeypatch.setattr(parzen, "N_VALIDATION", 100)
    out = tmp_path / "numbers.json"
    options = ["--likelihood", "--samples", 500, "--images", 40, "--json", out]
    status, output = call(evaluate.main, supervised_run, *options)
    assert status == 0 and "nats (standard error), of 500 samples with σ " in output, output
    (result,) = json.loads(out.read_text())["runs"]
    model = aae_mx.load(supervised_run)
    again = parzen.likelihood(model, aae_mx.model.load_data(model), 500, 40)
    assert result["likelihood"] == again
    assert "--samples" in refused(evaluate.main, supervised_run, "--samples", 0, code=2)
    message = refused(evaluate.main, supervised_run, "--samples", 10, code=2)
    assert "--samples: it is for --likelihood" in message
