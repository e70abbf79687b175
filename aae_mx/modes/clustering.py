"""Section 6 of the paper: clusters that nobody named (y), and how images are drawn (z).

Phases for every batch, those of section 5 without the last one:

1. *Reconstruction*: encoder and decoder learn to give the image back from y and z.
2. *Discriminators*: one learns to tell y from one-hot vectors, one z from samples of its prior.
3. *Generator*: the encoder learns to make both take its y and z for such samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aae_mx import backend
from aae_mx.hints import Batch, Block, Config, Exports, Generator, Labels, Learn, NDArray, Pair
from aae_mx.modes import latents
from aae_mx.modes.latents import noise_of
from aae_mx.modes.mode import Mode


class Clustering(Mode):
    name = "clustering"
    summary = "clusters, found without labels, and how images are drawn (paper, section 6)"
    settings = ("clusters", "style_dim", *latents.SETTINGS)
    metrics = latents.METRICS
    bar, line = latents.BAR, latents.LINE
    figures = ("qz", "clusters", "samples", "reconstructions", "losses")
    measures = ("clusters", "kinds", "match", "neighbours", "reconstruction", "samples")
    optimizers = latents.OPTIMIZERS
    decodes_labels = classifies = True
    dimensions = "style_dim"

    @classmethod
    def names(cls, config: Config) -> tuple[str, ...]:
        return (cls.name, str(config.clusters), *cls.other_prior(config))

    @property
    def kinds(self) -> tuple[str, ...]:
        return latents.cluster_names(self.config.clusters)

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
        return dict(zip(self.metrics, (loss, l2, *played)))

    def encode(self, images: NDArray) -> NDArray:
        return self.latents.heads(images)[1]

    def classify(self, images: NDArray) -> NDArray:
        return backend.mx.nd.softmax(self.latents.heads(images)[0])

    def represent(self, images: NDArray) -> Pair:
        return self.latents.represent(images)

    def decode(self, codes: NDArray, kinds: NDArray) -> NDArray:  # type: ignore[override]
        """Pixels of styles z (N, style_dim) and kinds y (N, clusters), one-hot or in between."""
        return self.output(backend.mx.nd, self.latents.decoder_logits(codes, kinds))

    def sample_prior(
        self, n: int, rng: Generator, labels: Labels = None
    ) -> tuple[np.ndarray, Labels]:
        return self.latents.sample(n, rng, labels)

    def exports(self) -> Exports:
        return self.latents.exports()
