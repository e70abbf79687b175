"""Section 5 of the paper: an encoder that says what an image is (y) and how it is drawn (z).

Phases for every batch, of which an epoch is one pass over all images:

1. *Reconstruction*: encoder and decoder learn to give the image back from y and z.
2. *Discriminators*: one learns to tell y from one-hot vectors, one z from samples of its prior.
3. *Generator*: the encoder learns to make both take its y and z for such samples.
4. *Classification*: the encoder learns to tell the labels of the images that have one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aae_mx import backend
from aae_mx.errors import ConfigError
from aae_mx.hints import Batch, Block, Config, Exports, Generator, Labels, Learn, NDArray, Pair
from aae_mx.modes import latents
from aae_mx.modes.latents import noise_of
from aae_mx.modes.mode import Mode


class Classification(Mode):
    name = "classification"
    summary = "what an image is and how it is drawn, from few labels (paper, section 5)"
    settings = ("labels", "style_dim", *latents.SETTINGS, *latents.LABEL_SETTINGS)
    metrics = (*latents.METRICS, *latents.LABEL_METRICS)
    bar, line = latents.LABEL_BAR, latents.LABEL_LINE
    figures = ("qz", "styles", "samples", "confusion", "reconstructions", "losses")
    measures = (
        *("classification", "kinds", "styles", "match", "neighbours", "reconstruction", "samples"),
    )
    optimizers = {**latents.OPTIMIZERS, **latents.LABEL_OPTIMIZERS}
    decodes_labels = classifies = True
    dimensions = "style_dim"

    @classmethod
    def check(cls, config: Config) -> None:
        if config.labels == "none":
            what = "it needs labels: add --labels N for those of N images, or --labels for all"
            raise ConfigError("mode", cls.name, what)
        super().check(config)

    @classmethod
    def names(cls, config: Config) -> tuple[str, ...]:
        return (cls.name, str(config.labels), *cls.other_prior(config))

    def build(self) -> dict[str, Block]:
        self.latents = latents.Latents(self, self.config.style_dim)
        return self.latents.networks

    def draw(self, rng: Generator, labels: Labels, left: np.ndarray) -> dict[str, Any]:
        return self.latents.draw(rng, labels, left)

    def step(self, batch: Batch, learn: Learn) -> dict[str, NDArray]:
        latents = self.latents
        own, images, again = latents.views(batch)

        loss, l2, z, y = latents.reconstruct(images=images, **noise_of(own))
        learn(loss, "encoder", "decoder", share=own.share)
        self.codes, y = z.detach(), y.detach()

        played = latents.play(again, y, self.codes, own, learn)
        labels = latents.learn_labels(again, y, batch, learn)
        return dict(zip(self.metrics, (loss, l2, *played, *labels)))

    def encode(self, images: NDArray) -> NDArray:
        return self.latents.heads(images)[1]

    def classify(self, images: NDArray) -> NDArray:
        return backend.mx.nd.softmax(self.latents.heads(images)[0])

    def represent(self, images: NDArray) -> Pair:
        return self.latents.represent(images)

    def decode(self, codes: NDArray, kinds: NDArray) -> NDArray:  # type: ignore[override]
        """Pixels of styles z (N, style_dim) and kinds y (N, labels), one-hot or in between."""
        return self.output(backend.mx.nd, self.latents.decoder_logits(codes, kinds))

    def sample_prior(
        self, n: int, rng: Generator, labels: Labels = None
    ) -> tuple[np.ndarray, Labels]:
        return self.latents.sample(n, rng, labels)

    def exports(self) -> Exports:
        return self.latents.exports()

    def about(self) -> dict[str, Any]:
        return {"mode": self.name, "labels": self.config.labels}
