import ctypes

import numpy as np
import pytest

from aae_mx.backend import mx
from aae_mx.networks.build import parameters
from aae_mx.networks.perceptrons import mlp
from aae_mx.training import adam as compiled_adam
from aae_mx.training.optimizers import SGD, Adam

OPTIONS = {"beta1": 0.1, "beta2": 0.999, "epsilon": 1e-8, "clip": 0.5}


def stepped(monkeypatch, compiled, steps=4):
    """Weights after some steps on the same gradients, a few of which are clipped."""
    if not compiled:
        monkeypatch.setattr(compiled_adam, "library", None)
    network = mlp([7, 31, 3], "relu")
    network.initialize(mx.init.Zero())
    adam = Adam(parameters(network), **OPTIONS)
    assert adam.compiled == compiled
    rng = np.random.default_rng(0)
    for step in range(1, steps + 1):
        with mx.autograd.record():
            loss = network(mx.nd.ones((1, 7))).sum()
        loss.backward()
        for parameter in parameters(network).values():
            parameter.grad()[:] = mx.nd.array(0.4 * rng.standard_normal(parameter.shape))
        adam.step(0.01 / step)
    return {key: p.data().asnumpy() for key, p in parameters(network).items()}


def by_hand(steps=4):
    """Kingma & Ba, algorithm 1, with clipping, in float64."""
    rng = np.random.default_rng(0)
    shapes = {"0.weight": (31, 7), "0.bias": (31,), "1.weight": (3, 31), "1.bias": (3,)}
    weights = {key: np.zeros(shape) for key, shape in shapes.items()}
    means = {key: np.zeros(shape) for key, shape in shapes.items()}
    squares = {key: np.zeros(shape) for key, shape in shapes.items()}
    for step in range(1, steps + 1):
        for key, shape in shapes.items():
            gradient = np.clip(0.4 * rng.standard_normal(shape), -0.5, 0.5)
            means[key] = 0.1 * means[key] + 0.9 * gradient
            squares[key] = 0.999 * squares[key] + 0.001 * gradient**2
            mean, square = means[key] / (1 - 0.1**step), squares[key] / (1 - 0.999**step)
            weights[key] -= 0.01 / step * mean / (np.sqrt(square) + 1e-8)
    return weights


@pytest.mark.parametrize(("compiled", "threads"), [(False, 1), (True, 1), (True, 2), (True, 5)])
def test_adam(monkeypatch, compiled, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    if compiled and compiled_adam.library is None:
        pytest.skip("adam.c was not compiled: no C compiler when the package was installed")
    result, expected = stepped(monkeypatch, compiled), by_hand()
    assert result.keys() == expected.keys()
    for key in expected:
        # float32, and an epsilon that MXNet adds before the correction of the square.
        np.testing.assert_allclose(result[key], expected[key], rtol=2e-4, atol=1e-7)


def test_compiled_is_mxnets_own(monkeypatch):
    """The two differ by the rounding of float32 only."""
    if compiled_adam.library is None:
        pytest.skip("adam.c was not compiled: no C compiler when the package was installed")
    compiled = stepped(monkeypatch, True, steps=50)
    operators = stepped(monkeypatch, False, steps=50)
    for key in compiled:
        np.testing.assert_allclose(compiled[key], operators[key], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("compiled", [True, False])
def test_no_state_becomes_denormal(monkeypatch, compiled):
    """They take the processor a hundred times as long, and threads may treat them differently."""
    if not compiled:
        monkeypatch.setattr(compiled_adam, "library", None)
    elif compiled_adam.library is None:
        pytest.skip("adam.c was not compiled: no C compiler when the package was installed")
    network = mlp([1, 1], "relu")
    network.initialize(mx.init.Zero())
    adam = Adam(parameters(network), **OPTIONS)
    # Means fall to a tenth in a step without a gradient, squares by a thousandth.
    adam.means["0.weight"][:], adam.squares["0.weight"][:] = -9e-38, 1.2e-38
    adam.means["0.bias"][:], adam.squares["0.bias"][:] = 3e-37, 1.1758e-38
    for parameter in parameters(network).values():
        parameter.grad()[:] = 0
    adam.step(0.01)
    states = {key: (adam.means[key].asscalar(), adam.squares[key].asscalar()) for key in adam.means}
    assert states["0.weight"] == (0, pytest.approx(1.1988e-38, rel=1e-5))
    assert states["0.bias"] == (pytest.approx(3e-38, rel=1e-5), 0)


def test_no_velocity_stays_denormal():
    network = mlp([1, 1], "relu")
    network.initialize(mx.init.Zero())
    sgd = SGD(parameters(network), momentum=0.9, clip=1)
    velocity = sgd.arrays["velocity"]["0.weight"]
    velocity[:] = 1.2e-38
    for parameter in parameters(network).values():
        parameter.grad()[:] = 0
    found = []
    for _ in range(10):
        sgd.step(0.01)
        found.append(velocity.asnumpy().item())
    assert found[:2] == [pytest.approx(1.08e-38), pytest.approx(0.972e-38)] and found[9] == 0


def test_an_array_that_the_engine_is_laying_out_is_waited_for(monkeypatch):
    """MXNet then refuses its address, as it did about once in a hundred small trainings."""
    array, asked = mx.nd.arange(3), []
    get = mx.base._LIB.MXNDArrayGetData

    def refusing(*arguments):
        asked.append(1)
        return -1 if len(asked) == 1 else get(*arguments)

    monkeypatch.setattr(mx.base._LIB, "MXNDArrayGetData", refusing)
    address = compiled_adam._address(array)
    assert len(asked) == 2
    values = np.ctypeslib.as_array((ctypes.c_float * 3).from_address(address))
    np.testing.assert_array_equal(values, [0, 1, 2])
