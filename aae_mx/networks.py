"""The three networks of an adversarial autoencoder, as Gluon HybridBlocks.

All are multi-layer perceptrons (the post's, and the paper's appendix A.1): no batch
normalisation, and no activation on their outputs.
"""

import numpy as np

from aae_mx.backend import mx

nn = mx.gluon.nn


def mlp(sizes, activation):
    """Dense layers of the given sizes, input first; ``activation`` after all but the last."""
    layers = nn.HybridSequential()
    for inputs, outputs in zip(sizes[:-2], sizes[1:-1]):
        layers.add(nn.Dense(outputs, activation=activation, in_units=inputs))
    layers.add(nn.Dense(sizes[-1], in_units=sizes[-2]))
    return layers


class Encoder(nn.HybridBlock):
    """Images (N, pixels) in 0–1 to codes z (N, code_dim). It is the game's generator."""

    def __init__(self, n_pixels, hidden, code_dim, activation, **kwargs):
        super().__init__(**kwargs)
        self.layers = mlp([n_pixels, *hidden, code_dim], activation)

    def hybrid_forward(self, F, images):
        return self.layers(images)


class Decoder(nn.HybridBlock):
    """Codes z (N, code_dim) to pixel logits (N, pixels); their sigmoid is the image in 0–1."""

    def __init__(self, n_pixels, hidden, code_dim, activation, **kwargs):
        super().__init__(**kwargs)
        self.layers = mlp([code_dim, *reversed(hidden), n_pixels], activation)

    def hybrid_forward(self, F, codes):
        return self.layers(codes)


class Discriminator(nn.HybridBlock):
    """Codes z (N, code_dim) to logits (N, 1): above 0 means "from the prior".

    ``n_conditions`` is the length of the one-hot that stands before z: 0 for z alone,
    n for labels, n + 1 for labels of which the last entry says "unknown". With
    ``conditioning`` ``"concat"`` that is all, as in the original; with ``"bilinear"`` the
    product of the two, n_conditions × code_dim, comes after them: z again, in the place of
    its label, so that every label has first-layer weights of its own.
    """

    def __init__(self, code_dim, n_conditions, hidden, activation, conditioning, **kwargs):
        super().__init__(**kwargs)
        self.n_conditions, self.conditioning = n_conditions, conditioning
        n_inputs = discriminator_inputs(code_dim, n_conditions, conditioning)
        self.layers = mlp([n_inputs, *hidden, 1], activation)

    def hybrid_forward(self, F, codes, condition=None):
        if (condition is None) != (self.n_conditions == 0):
            raise ValueError(
                f"this discriminator takes a condition of {self.n_conditions} entries, "
                f"{'none' if condition is None else 'one'} was given"
            )
        if condition is not None:
            inputs = [condition, codes]
            if self.conditioning == "bilinear":
                product = F.broadcast_mul(F.expand_dims(condition, 2), F.expand_dims(codes, 1))
                inputs.append(F.flatten(product))
            codes = F.concat(*inputs, dim=1)
        return self.layers(codes)


def discriminator_inputs(code_dim, n_conditions, conditioning):
    """The number of inputs of a Discriminator's first layer."""
    product = n_conditions * code_dim if conditioning == "bilinear" else 0
    return n_conditions + code_dim + product


def build_networks(config, n_pixels, n_labels, ctx):
    """Encoder, decoder and discriminator for a Config: weights N(0, init_std²), biases 0.

    Returns a dictionary of them under those names. The weights depend on the seed alone.
    """
    shape = (config.hidden, config.code_dim, config.activation)
    networks = {
        "encoder": Encoder(n_pixels, *shape),
        "decoder": Decoder(n_pixels, *shape),
        "discriminator": Discriminator(
            config.code_dim,
            _n_conditions(config, n_labels),
            config.discriminator_hidden,
            config.activation,
            config.conditioning,
        ),
    }
    rng = np.random.default_rng([config.seed, 0])
    for network in networks.values():
        network.initialize(mx.init.Zero(), ctx=ctx)
        for name, parameter in parameters(network).items():
            if name.endswith("weight"):
                values = config.init_std * rng.standard_normal(parameter.shape, np.float32)
                parameter.set_data(mx.nd.array(values, ctx=ctx))
        network.hybridize(static_alloc=True, static_shape=True)
    return networks


def _n_conditions(config, n_labels):
    # The last of n + 1 says "unknown".
    sizes = {"unsupervised": 0, "supervised": n_labels, "semi_supervised": n_labels + 1}
    return sizes[config.formulation]


def parameters(network):
    """The parameters by names that do not depend on how many networks were made before."""
    return network._collect_params_with_prefix()


def optimized_networks(model):
    """The network that each optimizer of a model steps, {optimizer: network}.

    Reconstruction and generator gradients differ in size, so by default the encoder has an
    Adam for each; in the original they share one, and there is no "generator" here.
    """
    separate = model.config.encoder_adam == "separate"
    return {**model.networks, **({"generator": model.encoder} if separate else {})}


def n_parameters(config, n_pixels, n_labels):
    """The number of weights and biases of the three networks of a Config."""
    conditions = _n_conditions(config, n_labels)
    hidden = config.hidden
    layers = [
        (n_pixels, *hidden, config.code_dim),
        (config.code_dim, *reversed(hidden), n_pixels),
        (
            discriminator_inputs(config.code_dim, conditions, config.conditioning),
            *config.discriminator_hidden,
            1,
        ),
    ]
    return sum(
        (inputs + 1) * outputs for sizes in layers for inputs, outputs in zip(sizes[:-1], sizes[1:])
    )
