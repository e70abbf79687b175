import numpy as np
import pytest
from conftest import small_config

from aae_mx.backend import mx
from aae_mx.model import AAE, make_mode
from aae_mx.networks.build import n_weights, parameters
from aae_mx.networks.perceptrons import Discriminator, NoisyEncoder

nd = mx.nd


def build(**settings):
    return AAE(small_config(**settings), (4, 5), "0123456789").networks


@pytest.mark.parametrize(("labels", "conditions"), [("none", 0), ("all", 10), (100, 11)])
def test_shapes(labels, conditions):
    networks = build(prior="uniform", labels=labels, code_dim=4)
    codes = networks["encoder"](nd.zeros((7, 20)))
    assert codes.shape == (7, 4)
    assert networks["decoder"](codes).shape == (7, 20)
    condition = () if not conditions else (nd.zeros((7, conditions)),)
    assert networks["discriminator"](codes, *condition).shape == (7, 1)


def test_sizes_of_the_reference():
    from aae_mx.config import Config

    networks = AAE(Config(), (28, 28), "0123456789").networks
    sizes = {
        name: [p.shape for key, p in parameters(network).items() if key.endswith("weight")]
        for name, network in networks.items()
    }
    assert sizes == {
        "encoder": [(1000, 784), (1000, 1000), (2, 1000)],
        "decoder": [(1000, 2), (1000, 1000), (784, 1000)],
        "discriminator": [(500, 2), (500, 500), (1, 500)],
    }


def test_forward_is_the_perceptron():
    """Against the same arithmetic in NumPy."""
    networks = build(activation="tanh", init_std=0.5)
    images = np.random.default_rng(0).random((5, 20), np.float32)
    for name, rows in (("encoder", images), ("decoder", images[:, :2])):
        weights = [p.data().asnumpy() for p in parameters(networks[name]).values()]
        expected = rows
        for weight, bias in zip(weights[::2], weights[1::2]):
            expected = expected @ weight.T + bias
            if weight is not weights[-2]:
                expected = np.tanh(expected)
        result = networks[name](nd.array(rows)).asnumpy()
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_initial_weights():
    networks = build(hidden=(200, 300), init_std=0.01, seed=5)
    again = build(hidden=(200, 300), init_std=0.01, seed=5)
    other = build(hidden=(200, 300), init_std=0.01, seed=6)
    for key, parameter in parameters(networks["encoder"]).items():
        values = parameter.data().asnumpy()
        np.testing.assert_array_equal(values, parameters(again["encoder"])[key].data().asnumpy())
        if key.endswith("bias"):
            assert not values.any()
        else:
            assert (values != parameters(other["encoder"])[key].data().asnumpy()).all()
    wide = parameters(networks["encoder"])["layers.1.weight"].data().asnumpy()
    assert wide.std() == pytest.approx(0.01, rel=0.02) and abs(wide.mean()) < 1e-4


def test_initial_weights_suit_the_width_of_a_layer():
    networks = build(prior="uniform", labels="all", hidden=(800, 200))
    weights = parameters(networks["encoder"])
    for layer, inputs in enumerate((20, 800, 200)):
        values = weights[f"layers.{layer}.weight"].data().asnumpy()
        assert values.std() == pytest.approx(np.sqrt(2 / inputs), rel=0.1)


def test_noise_multiplies_the_first_hidden_layer():
    encoder = build(hidden=(30, 10), init_std=0.5)["encoder"]
    noisy = NoisyEncoder(encoder)
    images = nd.random.uniform(shape=(7, 20))
    noise = nd.random.normal(shape=(7, 30))
    first, *others = encoder.layers
    expected = first(images) * (1 + noise)
    for layer in others:
        expected = layer(expected)
    np.testing.assert_allclose(noisy(images, noise).asnumpy(), expected.asnumpy(), rtol=1e-4)
    without = noisy(images, nd.zeros((7, 30))).asnumpy()
    np.testing.assert_allclose(without, encoder(images).asnumpy(), rtol=1e-5)


def test_the_label_reaches_the_discriminator():
    networks = build(prior="uniform", labels="all", init_std=0.3)
    codes = nd.ones((10, 2))
    logits = networks["discriminator"](codes, nd.array(np.eye(10))).asnumpy()
    assert len(np.unique(logits)) == 10, "the same code with ten labels has ten logits"


@pytest.mark.parametrize("labels", ["none", "all", 100])
def test_weights_are_counted_before_they_take_memory(labels):
    config = small_config(prior="uniform", labels=labels)
    networks = AAE(config, (4, 5), "0123456789").networks
    sizes = [p.data().size for n in networks.values() for p in parameters(n).values()]
    assert n_weights(make_mode(config, (4, 5), "0123456789").networks) == sum(sizes)
    wide = small_config(hidden=(65_536,) * 6)
    assert n_weights(make_mode(wide, (4, 5), "0123456789").networks) > 2e10


def test_condition_is_required_or_refused():
    with pytest.raises(ValueError, match="takes a condition of 10 entries, none was given"):
        _initialised(Discriminator(2, 10, (4,), "relu"))(nd.zeros((1, 2)))
    with pytest.raises(ValueError, match="takes a condition of 0 entries, one was given"):
        _initialised(Discriminator(2, 0, (4,), "relu"))(nd.zeros((1, 2)), nd.zeros((1, 10)))


def _initialised(network):
    network.initialize()
    return network
