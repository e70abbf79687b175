"""Multi-layer perceptrons: encoder, decoder, discriminator and classifier, as HybridBlocks.

Those of the post, and of the paper's appendix A.1: no batch normalisation, and no output has an
activation.
"""

from __future__ import annotations

import math
from typing import Any, Sequence

from aae_mx.backend import mx
from aae_mx.hints import Block, MaybeArray, NDArray, Operators

nn: Any = mx.gluon.nn

# Of the classifier: what it learns, the pieces of a prior, needs no more.
CLASSIFIER_HIDDEN = (200, 200)


def mlp(sizes: Sequence[int], activation: str) -> Block:
    """Dense layers of the given sizes, input first; ``activation`` after all but the last."""
    layers = nn.HybridSequential()
    for inputs, outputs in zip(sizes[:-2], sizes[1:-1]):
        layers.add(nn.Dense(outputs, activation=activation, in_units=inputs))
    layers.add(nn.Dense(sizes[-1], in_units=sizes[-2]))
    return layers


class Encoder(nn.HybridBlock):
    """Images (N, pixels) in 0–1 to codes z (N, code_dim). It is the game's generator."""

    def __init__(
        self, n_pixels: int, hidden: Sequence[int], code_dim: int, activation: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.layers = mlp([n_pixels, *hidden, code_dim], activation)

    def hybrid_forward(self, F: Operators, images: NDArray) -> NDArray:
        return self.layers(images)


class NoisyEncoder(nn.HybridBlock):
    """A perceptron Encoder in training: the units of its first hidden layer times 1 + noise.

    Images (N, pixels) and noise (N, units) to codes z (N, code_dim). With noise of mean 0 and a
    standard deviation of √(p / (1 − p)) it stands for dropping a share p of the units
    (Srivastava et al., Dropout, section 10, 2014), and can fall to zero.
    """

    def __init__(self, encoder: Block, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.hybridize(static_alloc=True, static_shape=True)

    def hybrid_forward(self, F: Operators, images: NDArray, noise: NDArray) -> NDArray:
        first, *others = self.encoder.layers
        units = first(images)
        units = units + units * noise
        for layer in others:
            units = layer(units)
        return units


class Decoder(nn.HybridBlock):
    """Codes z (N, code_dim) to pixel logits (N, pixels); their sigmoid is the image in 0–1.

    For data of the scale standard they are the values.
    """

    def __init__(
        self, n_pixels: int, hidden: Sequence[int], code_dim: int, activation: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.layers = mlp([code_dim, *reversed(hidden), n_pixels], activation)

    def hybrid_forward(self, F: Operators, codes: NDArray) -> NDArray:
        return self.layers(codes)


class Discriminator(nn.HybridBlock):
    """Codes z (N, code_dim) to logits (N, 1): above 0 means "from the prior".

    ``n_conditions`` is the length of the one-hot that stands before z: 0 for z alone,
    n for labels, n + 1 for labels of which the last entry says "unknown".
    """

    def __init__(
        self,
        code_dim: int,
        n_conditions: int,
        hidden: Sequence[int],
        activation: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.n_conditions = n_conditions
        self.layers = mlp([n_conditions + code_dim, *hidden, 1], activation)

    def hybrid_forward(self, F: Operators, codes: NDArray, condition: MaybeArray = None) -> NDArray:
        if (condition is None) != (self.n_conditions == 0):
            raise ValueError(
                f"this discriminator takes a condition of {self.n_conditions} entries, "
                f"{'none' if condition is None else 'one'} was given"
            )
        if condition is not None:
            codes = F.concat(condition, codes, dim=1)
        return self.layers(codes)


class Heads(nn.HybridBlock):
    """Kinds y (N, kinds) to y W (N, code_dim): the rows of W are the heads of the kinds."""

    def __init__(self, n_kinds: int, code_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = nn.Dense(code_dim, in_units=n_kinds, use_bias=False)

    def hybrid_forward(self, F: Operators, kinds: NDArray) -> NDArray:
        return self.layer(kinds)


class FixedHeads(nn.HybridBlock):
    """As Heads, but each kind has an axis of its own, and any two heads the same ``distance``."""

    def __init__(self, distance: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = distance / math.sqrt(2)

    def hybrid_forward(self, F: Operators, kinds: NDArray) -> NDArray:
        return self.scale * kinds


class Classifier(nn.HybridBlock):
    """Codes z (N, code_dim) to logits (N, n_labels) of the piece of the prior that z lies in."""

    def __init__(self, code_dim: int, n_labels: int, activation: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers = mlp([code_dim, *CLASSIFIER_HIDDEN, n_labels], activation)

    def hybrid_forward(self, F: Operators, codes: NDArray) -> NDArray:
        return self.layers(codes)
