"""Convolutional encoder and decoder, of the shape of Radford et al., arXiv 1511.06434."""

from __future__ import annotations

from typing import Any

from aae_mx.backend import mx
from aae_mx.errors import ConfigError
from aae_mx.hints import NDArray, Operators, Shape

nn: Any = mx.gluon.nn


class ConvEncoder(nn.HybridBlock):
    """Images (N, pixels) in 0–1, rows of ``image_shape``, to codes z (N, code_dim).

    Convolutions of 4 × 4 with stride 2 halve the sides, each followed by batch normalisation
    and the activation, down to maps of 4 to 7 pixels a side; see ``conv_sizes``. Batches that
    are recorded for training are normalised by themselves and move the running means (in the
    reconstruction and the generator phase); all others are normalised by these.
    """

    def __init__(
        self, image_shape: Shape, filters: int, code_dim: int, activation: str, **kwargs: Any
    ) -> None:
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

    def hybrid_forward(self, F: Operators, images: NDArray) -> NDArray:
        images = F.reshape(images, shape=(-1, *self.image_shape))
        return self.layers(F.transpose(images, axes=(0, 3, 1, 2)))


class ConvDecoder(nn.HybridBlock):
    """Codes z (N, code_dim) to pixel logits (N, pixels): the encoder's layers in reverse.

    The last of them has at least two channels, of which those of a grey image are the sum:
    MXNet 1.9.1 cannot go back through a transposed convolution to one channel ("could not
    create a primitive descriptor for a reorder primitive"), if it has 16 filters or more.
    """

    def __init__(
        self, image_shape: Shape, filters: int, code_dim: int, activation: str, **kwargs: Any
    ) -> None:
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

    def hybrid_forward(self, F: Operators, codes: NDArray) -> NDArray:
        maps = self.layers(F.reshape(self.first(codes), shape=(-1, *self.map_shape)))
        if self.grey:
            maps = F.sum(maps, axis=1, keepdims=True)
        return F.flatten(F.transpose(maps, axes=(0, 2, 3, 1)))


def conv_sizes(image_shape: Shape, filters: int) -> tuple[list[int], int]:
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
