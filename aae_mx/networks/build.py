"""Networks are built without memory, counted, and then filled with weights of a seed."""

from __future__ import annotations

import math
from typing import Any, Optional

import numpy as np

from aae_mx.backend import mx
from aae_mx.files import check_memory
from aae_mx.hints import Block, Config, Context, Parameter, Shape
from aae_mx.networks.convolutions import ConvDecoder, ConvEncoder
from aae_mx.networks.perceptrons import Decoder, Encoder


def autoencoder(
    config: Config, image_shape: Shape, n_codes: int, n_decoded: Optional[int] = None
) -> list[Block]:
    """An encoder to ``n_codes`` numbers and a decoder, of a config's architecture.

    The decoder takes as many, or ``n_decoded``.

    Raises ConfigError for convolutional networks on images whose size they cannot have.
    """
    kinds: tuple[Block, Block]
    sizes: tuple[Any, Any]
    if config.arch == "conv":
        kinds, sizes = (ConvEncoder, ConvDecoder), (image_shape, config.filters)
    else:
        kinds, sizes = (Encoder, Decoder), (int(np.prod(image_shape)), config.hidden)
    numbers = (n_codes, n_codes if n_decoded is None else n_decoded)
    return [kind(*sizes, n, config.activation) for kind, n in zip(kinds, numbers)]


def parameters(network: Block) -> dict[str, Parameter]:
    """The parameters by names that do not depend on how many networks were made before."""
    return network._collect_params_with_prefix()


def trained_parameters(network: Block) -> dict[str, Parameter]:
    """Those of ``parameters`` that have gradients: not the running means of batch normalisation."""
    return {name: p for name, p in parameters(network).items() if p.grad_req != "null"}


def n_weights(networks: dict[str, Block]) -> int:
    """How many numbers the parameters of {name: network} hold; they need not be there yet."""
    return sum(math.prod(p.shape) for net in networks.values() for p in parameters(net).values())


def initialise(
    networks: dict[str, Block], seed: int, init_std: Optional[float], ctx: Context
) -> None:
    """Fill {name: network}: weights N(0, init_std²), biases 0; they depend on the seed alone.

    Without an ``init_std``, each layer has the √(2 / inputs) of He et al., arXiv 1502.01852. Raises
    InputError for networks that this machine's memory cannot hold.
    """
    # Weights, gradients and Adam's two states, in float32. MXNet itself would fill the memory
    # before it fails.
    smaller = "choose a smaller --hidden, --filters or --code-dim"
    check_memory(16 * n_weights(networks), "the networks, to train them,", smaller)
    rng = np.random.default_rng([seed, 0])
    for network in networks.values():
        network.initialize(mx.init.Zero(), ctx=ctx)
        for name, parameter in parameters(network).items():
            if name.endswith("weight"):
                std = init_std or math.sqrt(2 / math.prod(parameter.shape[1:]))
                values = std * rng.standard_normal(parameter.shape, np.float32)
                parameter.set_data(mx.nd.array(values, ctx=ctx))
        network.hybridize(static_alloc=True, static_shape=True)
