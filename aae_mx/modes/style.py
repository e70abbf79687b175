"""Section 4 of the paper: the decoder is told what an image is, so that z keeps how it is drawn.

Phases for every batch:

1. *Reconstruction*: encoder and decoder learn to give the image back from its label and z.
2. *Discriminator*: it learns to tell styles z of images from samples of their prior.
3. *Generator*: the encoder learns to make it take its styles for such samples.

The paper's discriminator sees z alone. It may see the label beside z, as that of section 2.3 does:
then the styles of each label have to match the prior, and z cannot say what the image is.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from aae_mx import backend, priors
from aae_mx.errors import ConfigError
from aae_mx.hints import Batch, Block, Config, Exports, Generator, Labels, Learn, NDArray
from aae_mx.modes.mode import Mode, Moves
from aae_mx.modes.settings import SETTINGS
from aae_mx.settings import Setting


class Style(Mode):
    name = "style"
    summary = "how an image is drawn, apart from what it is (paper, section 4)"
    settings = (
        dataclasses.replace(SETTINGS["labels"], default="all"),
        *("style_dim", "reconstruction_rate", "decoder_rate", "discriminator_rate"),
        *("generator_rate", "image_warp", "image_bend", "hidden_noise", "noise_decay"),
        *("code_noise", "code_noise_decay"),
        Setting(
            "label_discriminator",
            bool,
            False,
            "The discriminator sees the label beside z: the styles of each label match the prior.",
            "networks",
        ),
    )
    metrics = (
        *("reconstruction_loss", "reconstruction_l2"),
        *("style_entropy", "style_accuracy", "generator_entropy", "style_fooled"),
    )
    bar = (
        "reconstruction {reconstruction_l2:.2f}  discriminator {style_entropy:.3f}"
        "  generator {generator_entropy:.3f}"
    )
    line = (
        "reconstruction {reconstruction_l2:.3f}, held out {held_out_l2:.3f}"
        "  discriminator {style_entropy:.3f} ({style_accuracy:.1%} right)"
        "  generator {generator_entropy:.3f} ({style_fooled:.1%} fooled)"
    )
    figures = ("qz", "styles", "samples", "reconstructions", "interpolations", "losses")
    measures = ("styles", "match", "neighbours", "reconstruction", "samples")
    optimizers = {
        "encoder": Moves(("encoder",), "reconstruction_rate"),
        "decoder": Moves(("decoder",), "decoder_rate"),
        "style": Moves(("style",), "discriminator_rate", True),
        "generator": Moves(("encoder",), "generator_rate", True),
    }
    decodes_labels = needs_labels = True
    dimensions = "style_dim"

    @classmethod
    def check(cls, config: Config) -> None:
        if config.labels != "all":
            what = "the decoder needs the label of every image, so expected 'all'"
            raise ConfigError("labels", config.labels, what)
        super().check(config)

    @classmethod
    def names(cls, config: Config) -> tuple[str, ...]:
        return (cls.name, *cls.other_prior(config))

    def build(self) -> dict[str, Block]:
        from aae_mx.networks.game import Game
        from aae_mx.networks.phase import Phase

        n_labels, dims = len(self.classes), self.config.style_dim
        networks = self.autoencoder(dims, n_labels + dims)
        n_conditions = n_labels if self.config.label_discriminator else 0
        networks["style"] = self.discriminator(dims, n_conditions)
        self.game = Game(networks["style"])
        encoder, decoder, discriminator = networks.values()
        self.reconstruct = Phase(self.reconstruction, encoder, decoder)
        self.tell = Phase(self.told, discriminator)
        self.deceive = Phase(self._deceive, encoder, still=[discriminator])
        return networks

    def draw(self, rng: Generator, labels: Labels, left: np.ndarray) -> dict[str, Any]:
        from aae_mx.networks import noise

        config, n = self.config, len(left)
        arrays = {"labels": np.eye(len(self.classes), dtype=np.float32)[labels]}
        arrays["styles"], _ = self.sample_prior(n, rng)
        if config.code_noise:
            scale = noise.code_scale(config, left)
            for whose in ("code_noise", "generator_noise"):
                arrays[whose] = scale * rng.standard_normal((n, self.code_dim), np.float32)
            arrays["styles"] += scale * rng.standard_normal((n, self.code_dim), np.float32)
        arrays.update(noise.against_heart(self, rng, left, 1, ("", "generator_")))
        return arrays

    def step(self, batch: Batch, learn: Learn) -> dict[str, NDArray]:
        from aae_mx.networks.noise import noisy, warped

        images = warped(batch.images, self.image_shape, batch.maps)
        beside = batch.labels if self.config.label_discriminator else None

        loss, l2, z = self.reconstruct(images=images, noise=batch.hidden_noise, labels=batch.labels)
        learn(loss, "encoder", "decoder")
        self.codes = z.detach()

        codes = noisy(self.codes, batch.code_noise)
        loss_of_both, *told = self.tell(fake=codes, real=batch.styles, beside=beside)
        learn(loss_of_both, "style")

        fooling, fooled = self.deceive(
            images=images,
            hidden_noise=batch.generator_hidden_noise,
            noise=batch.generator_noise,
            labels=beside,
        )
        learn(fooling, "generator")
        return dict(zip(self.metrics, (loss, l2, *told, fooling, fooled)))

    def _deceive(self, F, given):
        from aae_mx.networks.noise import noisy

        # Encoded afresh: the encoder has changed since.
        z = self.encode_with(given.hidden_noise, given.images)
        return self.game.fool(noisy(z, given.noise), given.labels)

    def logits(self, codes: NDArray, kinds: NDArray) -> NDArray:
        return self.networks["decoder"](backend.mx.nd.concat(kinds, codes, dim=1))

    def decode(self, codes: NDArray, kinds: NDArray) -> NDArray:  # type: ignore[override]
        """Pixels of styles z (N, style_dim) and kinds y (N, labels), one-hot or in between."""
        return self.output(backend.mx.nd, self.logits(codes, kinds))

    def sample_prior(
        self, n: int, rng: Generator, labels: Labels = None
    ) -> tuple[np.ndarray, Labels]:
        """Styles; the pieces of their prior stand for nothing, and the labels are of the kinds."""
        codes, _ = self.prior.sample(n, rng, self.code_dim, self.n_pieces)
        return codes, priors.categorical(n, rng, len(self.classes), labels)[1]

    def exports(self) -> Exports:
        encoder, decoder = self.networks["encoder"], self.networks["decoder"]

        def images(F, codes, kinds):
            return self.output(F, decoder(F.concat(kinds, codes, dim=1)))

        return {
            "encoder": ({"images": self.n_pixels}, "codes", lambda F, images: encoder(images)),
            "decoder": ({"codes": self.code_dim, "kinds": len(self.classes)}, "images", images),
        }
