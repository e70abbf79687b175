"""The networks of an adversarial autoencoder, as Gluon HybridBlocks.

The discriminator is a multi-layer perceptron; encoder and decoder are either that (the post's,
and the paper's appendix A.1) or convolutional, of the shape of Radford et al., arXiv 1511.06434.
The perceptrons have no batch normalisation, and no output has an activation.
"""

import math
import os

import numpy as np

from aae_mx.backend import mx
from aae_mx.errors import AAEError, ConfigError

nn = mx.gluon.nn


# Of the classifier: what it learns, the pieces of a prior, needs no more.
CLASSIFIER_HIDDEN = (200, 200)


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


class NoisyEncoder(nn.HybridBlock):
    """A perceptron Encoder in training: the units of its first hidden layer times 1 + noise.

    Images (N, pixels) and noise (N, units) to codes z (N, code_dim). With noise of mean 0 and a
    standard deviation of √(p / (1 − p)) it stands for dropping a share p of the units
    (Srivastava et al., Dropout, section 10, 2014), and can fall to zero.
    """

    def __init__(self, encoder, **kwargs):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.hybridize(static_alloc=True, static_shape=True)

    def hybrid_forward(self, F, images, noise):
        first, *others = self.encoder.layers
        units = first(images)
        units = units + units * noise
        for layer in others:
            units = layer(units)
        return units


class Decoder(nn.HybridBlock):
    """Codes z (N, code_dim) to pixel logits (N, pixels); their sigmoid is the image in 0–1."""

    def __init__(self, n_pixels, hidden, code_dim, activation, **kwargs):
        super().__init__(**kwargs)
        self.layers = mlp([code_dim, *reversed(hidden), n_pixels], activation)

    def hybrid_forward(self, F, codes):
        return self.layers(codes)


class ConvEncoder(nn.HybridBlock):
    """Images (N, pixels) in 0–1, rows of ``image_shape``, to codes z (N, code_dim).

    Convolutions of 4 × 4 with stride 2 halve the sides, each followed by batch normalisation
    and the activation, down to maps of 4 to 7 pixels a side; see ``conv_sizes``. Batches that
    are recorded for training are normalised by themselves and move the running means (in the
    reconstruction and the generator phase); all others are normalised by these.
    """

    def __init__(self, image_shape, filters, code_dim, activation, **kwargs):
        super().__init__(**kwargs)
        channels, side = conv_sizes(image_shape, filters)
        self.image_shape = (*image_shape[:2], channels[0])
        self.layers = nn.HybridSequential()
        for inputs, outputs in zip(channels[:-1], channels[1:]):
            self.layers.add(
                nn.Conv2D(outputs, 4, 2, 1, use_bias=False, in_channels=inputs),
                nn.BatchNorm(in_channels=outputs),
                nn.Activation(activation),
            )
        self.layers.add(nn.Flatten(), nn.Dense(code_dim, in_units=channels[-1] * side**2))

    def hybrid_forward(self, F, images):
        images = F.reshape(images, shape=(-1, *self.image_shape))
        return self.layers(F.transpose(images, axes=(0, 3, 1, 2)))


class ConvDecoder(nn.HybridBlock):
    """Codes z (N, code_dim) to pixel logits (N, pixels): the encoder's layers in reverse.

    The last of them has at least two channels, of which those of a grey image are the sum:
    MXNet 1.9.1 cannot go back through a transposed convolution to one channel ("could not
    create a primitive descriptor for a reorder primitive"), if it has 16 filters or more.
    """

    def __init__(self, image_shape, filters, code_dim, activation, **kwargs):
        super().__init__(**kwargs)
        channels, side = conv_sizes(image_shape, filters)
        self.map_shape = (channels[-1], side, side)
        self.grey = channels[0] == 1
        channels[0] = max(channels[0], 2)
        self.first = nn.Dense(channels[-1] * side**2, in_units=code_dim)
        self.layers = nn.HybridSequential()
        for layer in range(len(channels) - 1, 0, -1):
            inputs, outputs, last = channels[layer], channels[layer - 1], layer == 1
            self.layers.add(
                nn.BatchNorm(in_channels=inputs),
                nn.Activation(activation),
                nn.Conv2DTranspose(outputs, 4, 2, 1, use_bias=last, in_channels=inputs),
            )

    def hybrid_forward(self, F, codes):
        maps = self.layers(F.reshape(self.first(codes), shape=(-1, *self.map_shape)))
        if self.grey:
            maps = F.sum(maps, axis=1, keepdims=True)
        return F.flatten(F.transpose(maps, axes=(0, 2, 3, 1)))


def conv_sizes(image_shape, filters):
    """The channels of the image and of each layer after it, and the side of the last maps.

    Raises ConfigError for images that are not square or whose side cannot be halved so far.
    """
    side = image_shape[0]
    channels = [image_shape[2] if len(image_shape) == 3 else 1]
    while side > 7 and side % 2 == 0:
        side //= 2
        channels.append(filters * min(2 ** (len(channels) - 1), 8))
    if side not in range(4, 8) or len(channels) == 1 or image_shape[0] != image_shape[1]:
        size = " × ".join(map(str, image_shape[:2]))
        raise ConfigError(
            "arch",
            "conv",
            f"the images are {size} pixels, which cannot be halved down to 4 to 7 (as 28, 32, 64 "
            "and 128 can); use --arch mlp",
        )
    return channels, side


class Discriminator(nn.HybridBlock):
    """Codes z (N, code_dim) to logits (N, 1): above 0 means "from the prior".

    ``n_conditions`` is the length of the one-hot that stands before z: 0 for z alone,
    n for labels, n + 1 for labels of which the last entry says "unknown".
    """

    def __init__(self, code_dim, n_conditions, hidden, activation, **kwargs):
        super().__init__(**kwargs)
        self.n_conditions = n_conditions
        self.layers = mlp([n_conditions + code_dim, *hidden, 1], activation)

    def hybrid_forward(self, F, codes, condition=None):
        if (condition is None) != (self.n_conditions == 0):
            raise ValueError(
                f"this discriminator takes a condition of {self.n_conditions} entries, "
                f"{'none' if condition is None else 'one'} was given"
            )
        if condition is not None:
            codes = F.concat(condition, codes, dim=1)
        return self.layers(codes)


class Classifier(nn.HybridBlock):
    """Codes z (N, code_dim) to logits (N, n_labels) of the piece of the prior that z lies in."""

    def __init__(self, code_dim, n_labels, activation, **kwargs):
        super().__init__(**kwargs)
        self.layers = mlp([code_dim, *CLASSIFIER_HIDDEN, n_labels], activation)

    def hybrid_forward(self, F, codes):
        return self.layers(codes)


def build_networks(config, image_shape, n_labels, ctx):
    """The networks of a Config: weights N(0, init_std²), biases 0.

    Without an init_std, each layer has the √(2 / inputs) of He et al., arXiv 1502.01852.

    Returns a dictionary: encoder, decoder, discriminator, and with labels, if its weight is
    above 0, classifier. The weights depend on the seed alone. Raises
    ConfigError for convolutional networks on images whose size they cannot have, and AAEError
    for networks that this machine's memory cannot hold.
    """
    # Weights, gradients and Adam's two states, in float32. MXNet itself would fill the memory
    # before it fails.
    needed = 16 * n_parameters(config, image_shape, n_labels)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise AAEError(
            f"the networks are too large: to train them takes {needed / 1e9:,.0f} GB, and this "
            f"machine has {there / 1e9:,.0f}; choose a smaller --hidden, --filters or --code-dim"
        )
    if config.arch == "conv":
        kinds, sizes = (ConvEncoder, ConvDecoder), (image_shape, config.filters)
    else:
        kinds, sizes = (Encoder, Decoder), (int(np.prod(image_shape)), config.hidden)
    encoder, decoder = (kind(*sizes, config.code_dim, config.activation) for kind in kinds)
    networks = {
        "encoder": encoder,
        "decoder": decoder,
        "discriminator": Discriminator(
            config.code_dim,
            _n_conditions(config, n_labels),
            config.discriminator_hidden,
            config.activation,
        ),
    }
    if _classifies(config):
        networks["classifier"] = Classifier(config.code_dim, n_labels, config.activation)
    rng = np.random.default_rng([config.seed, 0])
    for network in networks.values():
        network.initialize(mx.init.Zero(), ctx=ctx)
        for name, parameter in parameters(network).items():
            if name.endswith("weight"):
                std = config.init_std or math.sqrt(2 / math.prod(parameter.shape[1:]))
                values = std * rng.standard_normal(parameter.shape, np.float32)
                parameter.set_data(mx.nd.array(values, ctx=ctx))
        network.hybridize(static_alloc=True, static_shape=True)
    return networks


def _n_conditions(config, n_labels):
    # The last of n + 1 says "unknown".
    sizes = {"unsupervised": 0, "supervised": n_labels, "semi_supervised": n_labels + 1}
    return sizes[config.formulation]


def _classifies(config):
    return config.labels != "none" and config.classifier_weight > 0


def parameters(network):
    """The parameters by names that do not depend on how many networks were made before."""
    return network._collect_params_with_prefix()


def trained_parameters(network):
    """Those of ``parameters`` that have gradients: not the running means of batch normalisation."""
    return {name: p for name, p in parameters(network).items() if p.grad_req != "null"}


def optimized_networks(model):
    """The network that each optimizer of a model steps, {optimizer: network}.

    Reconstruction and generator gradients differ in size, so by default the encoder has an
    Adam for each; in the original they share one, and there is no "generator" here.
    """
    separate = model.config.encoder_adam == "separate"
    return {**model.networks, **({"generator": model.encoder} if separate else {})}


def n_parameters(config, image_shape, n_labels):
    """The number of weights and biases of the networks of a Config."""
    inputs = _n_conditions(config, n_labels) + config.code_dim
    perceptrons = [(inputs, *config.discriminator_hidden, 1)]
    if _classifies(config):
        perceptrons.append((config.code_dim, *CLASSIFIER_HIDDEN, n_labels))
    convolutions = 0
    if config.arch == "conv":
        channels, side = conv_sizes(image_shape, config.filters)
        units = channels[-1] * side**2
        perceptrons += [(units, config.code_dim), (config.code_dim, units)]
        # Encoder and decoder; batch normalisation has four numbers per channel.
        convolutions = 2 * sum(16 * a * b for a, b in zip(channels[:-1], channels[1:]))
        convolutions += 2 * 4 * sum(channels[1:])
        # The decoder's last layer has biases, and two channels where one would do.
        convolutions += max(channels[0], 2) + 16 * channels[1] * (channels[0] == 1)
    else:
        n_pixels = math.prod(image_shape)
        perceptrons += [
            (n_pixels, *config.hidden, config.code_dim),
            (config.code_dim, *reversed(config.hidden), n_pixels),
        ]
    return convolutions + sum(
        (inputs + 1) * outputs
        for sizes in perceptrons
        for inputs, outputs in zip(sizes[:-1], sizes[1:])
    )
