"""Section 7 of the paper: a plane, or a space, in which every kind has a place of its own.

An image lies at r = y W + z: the rows of W are the heads of the kinds, y says which kind the image
is of, and the style z where it lies around the head. The decoder takes r alone. Phases for every
batch:

1. *Reconstruction*: encoder, heads and decoder learn to give the image back from r; heads that are
   nearer to each other than the head distance move apart.
2. *Discriminators*: one learns to tell y from one-hot vectors, one z from samples of its prior.
3. *Generator*: the encoder learns to make both take its y and z for such samples.
4. *Classification*, with labels: the encoder learns to tell those of the images that have one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aae_mx import backend
from aae_mx.errors import ConfigError
from aae_mx.hints import Batch, Block, Config, Exports, Generator, Labels, Learn, NDArray
from aae_mx.modes import latents
from aae_mx.modes.latents import noise_of
from aae_mx.modes.mode import Mode, Moves
from aae_mx.settings import Setting


class Reduction(Mode):
    name = "reduction"
    summary = "a plane with a place for every class or cluster (paper, section 7)"
    settings = (
        *("labels", "clusters", "code_dim", *latents.SETTINGS, *latents.LABEL_SETTINGS),
        Setting(
            "head_rate",
            float,
            1e-2,
            "Learning rate of the heads.",
            "rates",
            above=0,
            only={"fixed_heads": False},
        ),
        Setting(
            "head_distance",
            float,
            8.0,
            "Heads nearer to each other than this move apart; fixed heads are so far apart.",
            above=0,
        ),
        Setting(
            "fixed_heads",
            bool,
            False,
            "The heads do not learn: each is on an axis of its own, as the paper's in 10-D.",
        ),
    )
    figures: tuple[str, ...] = (
        *("pz", "qz", "output", "samples", "reconstructions", "interpolations", "losses"),
    )
    labels_are_pieces = classifies = True

    @classmethod
    def check(cls, config: Config) -> None:
        usual = config.recipe_entry.values().get("clusters", config.clusters)
        if config.labels != "none" and config.clusters != usual:
            what = "it is for trainings without labels: with them, kinds are the classes"
            raise ConfigError("clusters", config.clusters, what)
        super().check(config)

    @classmethod
    def names(cls, config: Config) -> tuple[str, ...]:
        labels = f"{config.clusters}-clusters" if config.labels == "none" else str(config.labels)
        return (cls.name, labels, f"{config.code_dim}d", *cls.other_prior(config))

    @property
    def kinds(self) -> tuple[str, ...]:
        if self.config.labels == "none":
            return latents.cluster_names(self.config.clusters)
        return self.classes

    def build(self) -> dict[str, Block]:
        from aae_mx.networks.losses import HeadCost
        from aae_mx.networks.perceptrons import FixedHeads, Heads
        from aae_mx.networks.phase import Phase

        config, m, n = self.config, len(self.kinds), self.config.code_dim
        self.latents = latents.Latents(self, n, n_decoded=n)
        networks = dict(self.latents.networks)
        self.optimizers, self.metrics = dict(latents.OPTIMIZERS), latents.METRICS
        self.bar, self.line = latents.BAR, latents.LINE
        self.measures = ("clusters", "kinds", "match", "neighbours", "reconstruction", "samples")
        if config.fixed_heads:
            if m != n:
                what = f"expected {m}, one dimension for each of the fixed heads"
                raise ConfigError("code_dim", n, what)
            self.heads = FixedHeads(config.head_distance)
        else:
            self.heads = networks["heads"] = Heads(m, n)
            self.head_cost = HeadCost(m, config.head_distance)
            self.optimizers["heads"] = Moves(("heads",), "head_rate")
            self.metrics = (*self.metrics, "head_cost")
        used = [networks[name] for name in ("encoder", "decoder", "heads") if name in networks]
        self.reconstruct = Phase(self._reconstruct, *used)
        if config.labels != "none":
            self.optimizers.update(latents.LABEL_OPTIMIZERS)
            self.metrics = (*self.metrics, *latents.LABEL_METRICS)
            self.bar, self.line = latents.LABEL_BAR, latents.LABEL_LINE
            self.measures = ("classification", *self.measures[1:])
            self.figures = (*self.figures, "confusion")
        return networks

    def draw(self, rng: Generator, labels: Labels, left: np.ndarray) -> dict[str, Any]:
        return self.latents.draw(rng, labels, left)

    def step(self, batch: Batch, learn: Learn) -> dict[str, NDArray]:
        latents = self.latents
        own, images, again = latents.views(batch)

        total, loss, l2, *found, z, y = self.reconstruct(images=images, **noise_of(own))
        heads = [] if self.config.fixed_heads else ["heads"]
        learn(total, "encoder", "decoder", *heads, share=own.share)
        codes, *costs = found
        self.codes, y, z = codes.detach(), y.detach(), z.detach()

        played = latents.play(again, y, z, own, learn)

        labels: tuple[NDArray, ...] = ()
        if self.config.labels != "none":
            labels = latents.learn_labels(again, y, batch, learn)
        return dict(zip(self.metrics, (loss, l2, *played, *costs, *labels)))

    def _reconstruct(self, F, given):
        logits, z = self.latents.noisy_heads(F, given)
        y = F.softmax(logits)
        codes = self.heads(y) + z
        loss, l2 = self.reconstruction_loss(self.networks["decoder"](codes), given.images)
        costs = []
        if not self.config.fixed_heads:
            costs.append(self.head_cost(self.heads(F.eye(len(self.kinds)))))
        found = (loss, l2, codes, *costs, z, y)
        return (sum(costs, loss), *map(F.BlockGrad, found))

    def encode(self, images: NDArray) -> NDArray:
        z, y = self.latents.represent(images)
        return self.heads(y) + z

    def classify(self, images: NDArray) -> NDArray:
        return self.latents.represent(images)[1]

    def head_codes(self) -> np.ndarray:
        kinds = backend.mx.nd.eye(len(self.kinds), ctx=self.ctx)
        return self.heads(kinds).asnumpy()

    def sample_prior(
        self, n: int, rng: Generator, labels: Labels = None
    ) -> tuple[np.ndarray, Labels]:
        """Styles around the heads of kinds, and these."""
        styles, kinds = self.latents.sample(n, rng, labels)
        return self.head_codes()[kinds] + styles, kinds

    def exports(self) -> Exports:
        def codes(F, images):
            y, z = self.latents.split(F, self.networks["encoder"](images))
            return self.heads(F.softmax(y)) + z

        exported = super().exports()
        pixels = exported["encoder"][0]
        classifier = (pixels, "kinds", self.latents.classifier)
        return {**exported, "encoder": (pixels, "codes", codes), "classifier": classifier}

    def about(self) -> dict[str, Any]:
        heads = self.head_codes().tolist()
        return {"mode": self.name, "labels": self.config.labels, "heads": heads}
