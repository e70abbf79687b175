"""Models as Python objects: copied, pickled, shown."""

import copy
import io
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from conftest import small_config
from sklearn.base import clone

import aae_mx
from aae_mx import Config
from aae_mx.backend import mx
from aae_mx.model import AAE


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "clone": lambda model: clone(model, safe=False),
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "old pickle": lambda model: pickle.loads(pickle.dumps(model, protocol=2)),
    "joblib": through_joblib,
}


SLOW = pytest.mark.slow


@pytest.fixture(params=["loaded", "labels", "conv"])
def model(request, supervised_run):
    if request.param == "loaded":
        return aae_mx.load(supervised_run)
    if request.param == "labels":
        config = small_config(prior="uniform", labels=50, seed=3)
        return AAE(config, (4, 5), ("cat", "dog"))
    config = Config(arch="conv", filters=2, code_dim=4)
    model = AAE(config, (28, 28, 3), ())
    # So that the running means, which nothing trains, are of something.
    with mx.autograd.record():
        model.encoder(mx.nd.random.uniform(shape=(9, model.n_pixels)))
    return model


@pytest.mark.parametrize("way", WAYS)
def test_copies_are_the_same_and_share_nothing(model, way):
    images = np.random.default_rng(0).random((5, model.n_pixels))
    unused = WAYS[way](model)
    codes = model.encode(images)
    used = WAYS[way](model)
    for other in (unused, used, WAYS[way](used)):
        np.testing.assert_array_equal(other.encode(images), codes)
        np.testing.assert_array_equal(other.sample(3, seed=0), model.sample(3, seed=0))
        assert repr(other) == repr(model)
        for name in ("config", "image_shape", "classes", "run", "epoch"):
            assert getattr(other, name) == getattr(model, name)
        other.set_weights({name: 0 * array for name, array in other.weights().items()})
        np.testing.assert_array_equal(model.encode(images), codes)


@pytest.mark.parametrize(
    "model",
    ["loaded", pytest.param("labels", marks=SLOW), pytest.param("conv", marks=SLOW)],
    indirect=True,
)
def test_a_model_goes_to_other_processes(model):
    """As in cross-validation; here with nothing but the pickle."""
    images = np.random.default_rng(0).random((5, model.n_pixels))
    code = """
import pickle, sys
model, images = pickle.load(sys.stdin.buffer)
pickle.dump(model.encode(images), sys.stdout.buffer)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((model, images)), capture_output=True
    )
    np.testing.assert_array_equal(pickle.loads(result.stdout), model.encode(images))


def test_pickles_hold_plain_things(model):
    state = model.__getstate__()
    assert {type(array) for array in state["weights"].values()} == {np.ndarray}
    assert "mxnet" not in str({type(value) for value in state.values()})


def test_models_are_shown(supervised_run):
    text = repr(aae_mx.load(supervised_run))
    for part in ("swiss_roll, supervised", "code_dim 2", "(28, 28)", "10 classes", "epoch 2"):
        assert part in text
    assert f"run {supervised_run}" in text and "\n" not in text
    config = small_config(hidden=(3,), discriminator_hidden=(2,))
    # 20 · 3 + 3, 3 · 2 + 2; 2 · 3 + 3, 3 · 20 + 20; 2 · 2 + 2, 2 · 1 + 1.
    text = repr(AAE(config, (4, 5), ()))
    assert "0 classes, 169 weights" in text and "epoch" not in text and "run" not in text


def test_what_the_package_has(tmp_path):
    code = """
import sys, aae_mx
names = dir(aae_mx)
assert {"Config", "fit", "load", "resume", "report", "priors", "slim"} <= set(names), names
assert "sys" not in names and "_HOME" not in names
from aae_mx.report import plotting
assert plotting.scatter_codes and aae_mx.priors.PRIORS
assert "mxnet" not in sys.modules
assert aae_mx.model.AAE and "mxnet" in sys.modules
for name in names:
    getattr(aae_mx, name)
try:
    aae_mx.plottings
except AttributeError as error:
    assert "no attribute 'plottings'" in str(error)
else:
    raise AssertionError
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
