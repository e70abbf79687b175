"""The post, and sections 2 and 2.3 of the paper: one prior p(z), in pieces for labels.

Three phases for every batch:

1. *Reconstruction*: encoder and decoder learn to give the image back.
2. *Discriminator*: it learns to tell codes of images, q(z), from samples of the prior, p(z).
3. *Generator*: the encoder learns to make it take its codes for prior samples.

With labels a small classifier may learn on the prior samples, for the third phase.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aae_mx import backend, priors
from aae_mx.errors import ConfigError
from aae_mx.hints import Batch, Block, Config, Generator, Labels, Learn, MaybeArray, NDArray, Pair
from aae_mx.modes.mode import Mode, Moves

# From which probability on the classifier is taken at its word; Sohn et al. have 0.95.
SURE = 0.9
# As in the post, by how many images have a label.
FORMULATIONS = {"none": "unsupervised", "some": "semi_supervised", "all": "supervised"}


class LabelPrior(Mode):
    name = "label_prior"
    summary = "one prior, in pieces for labels (the post; paper, sections 2 and 2.3)"
    settings = (
        *("labels", "code_dim", "reconstruction_rate", "decoder_rate", "discriminator_rate"),
        *("generator_rate", "discriminator_steps", "labelled_share", "encoder_adam"),
        *("classifier_weight", "image_warp", "image_bend", "hidden_noise", "noise_decay"),
        *("code_noise", "code_noise_decay", "pseudo_label_weight"),
        *("decoder_epochs", "decoder_noise"),
    )
    metrics = (
        *("reconstruction_loss", "reconstruction_l2", "discriminator_entropy"),
        *("discriminator_accuracy", "generator_entropy", "generator_accuracy"),
    )
    bar = (
        "reconstruction {reconstruction_l2:.2f}  discriminator {discriminator_entropy:.3f}"
        "  generator {generator_entropy:.3f}"
    )
    line = (
        "reconstruction {reconstruction_l2:.3f}, held out {held_out_l2:.3f}"
        "  discriminator {discriminator_entropy:.3f} ({discriminator_accuracy:.1%} right)"
        "  generator {generator_entropy:.3f} ({generator_accuracy:.1%} fooled)"
    )
    measures = ("match", "label_agreement", "neighbours", "reconstruction", "samples")

    @classmethod
    def check(cls, config: Config) -> None:
        if config.labels != "none" and not priors.find(config.prior).has_pieces:
            prior, able = config.prior, ", ".join(priors.with_pieces())
            what = f"the prior {prior} has no pieces that labels could name; with labels use {able}"
            raise ConfigError("prior", prior, what)
        super().check(config)

    @classmethod
    def names(cls, config: Config) -> tuple[str, ...]:
        kind, n = config.labels_kind, str(config.labels)
        return (config.prior, FORMULATIONS[kind], *([n] if kind == "some" else []))

    def build(self) -> dict[str, Block]:
        from aae_mx.networks.game import Game
        from aae_mx.networks.perceptrons import Classifier
        from aae_mx.networks.phase import Phase

        config, n_labels = self.config, len(self.classes)
        self.labels_are_pieces = config.labels != "none"
        if self.labels_are_pieces and self.prior.has_axes:
            self.figures = (*self.figures, "walks")
        n_conditions = {"none": 0, "all": n_labels, "some": n_labels + 1}[config.labels_kind]
        networks = self.autoencoder(config.code_dim)
        networks["discriminator"] = self.discriminator(config.code_dim, n_conditions)
        self.game = Game(networks["discriminator"])
        self.optimizers = {
            "encoder": Moves(("encoder",), "reconstruction_rate"),
            "decoder": Moves(("decoder",), "decoder_rate"),
            "discriminator": Moves(("discriminator",), "discriminator_rate", True),
        }
        if self.labels_are_pieces and config.classifier_weight > 0:
            networks["classifier"] = Classifier(config.code_dim, n_labels, config.activation)
            self.optimizers["classifier"] = Moves(("classifier",), "discriminator_rate")
        self.classifier: Block = networks.get("classifier")
        # Labels are guessed only where some are missing, and by a classifier.
        some = config.labels_kind == "some" and self.classifier is not None
        self.pseudo_labels = some and config.pseudo_label_weight > 0
        # Gradients of both phases differ in size; in the original they share one Adam.
        self.optimizers["generator"] = Moves(("encoder",), "generator_rate", True)
        self.shares = {"generator": "encoder"} if config.encoder_adam == "shared" else {}
        encoder, decoder, *others = networks.values()
        self.reconstruct = Phase(self.reconstruction, encoder, decoder)
        self.tell = Phase(self.told, networks["discriminator"])
        self.tell_pieces = Phase(self._tell_pieces, *others[1:])
        self.deceive = Phase(self._deceive, encoder, still=others)
        return networks

    def draw(self, rng: Generator, labels: Labels, left: np.ndarray) -> dict[str, Any]:
        from aae_mx.networks.noise import against_heart, code_scale

        config, n = self.config, len(left)
        drawn = [self._prior_codes(rng, labels, n) for _ in range(config.discriminator_steps)]
        arrays = {"prior_codes": np.stack([codes for codes, _ in drawn], axis=1)}
        if config.code_noise:
            scale = code_scale(config, left)
            both = rng.standard_normal((2, *arrays["prior_codes"].shape), np.float32)
            arrays["generator_noise"] = scale * rng.standard_normal((n, self.code_dim), np.float32)
            arrays["prior_codes"] += scale[:, None] * both[0]
            arrays["code_noise"] = scale[:, None] * both[1]
        arrays.update(against_heart(self, rng, left, 1 + self.pseudo_labels, ("", "generator_")))
        if labels is not None:
            one_hot = np.eye(self.networks["discriminator"].n_conditions, dtype=np.float32)
            arrays["condition"] = one_hot[labels]
            arrays["pieces"] = one_hot[drawn[0][1], : len(self.classes)]
        return arrays

    def _prior_codes(self, rng, labels, n):
        """Prior samples in the pieces of labels, or of the whole prior; and their pieces."""
        if labels is not None:
            labels = np.where(labels < self.n_pieces, labels, rng.integers(self.n_pieces, size=n))
        return self.sample_prior(n, rng, labels)

    def step(self, batch: Batch, learn: Learn) -> dict[str, NDArray]:
        from aae_mx.networks.noise import noisy, warped

        images = warped(batch.images, self.image_shape, batch.maps)
        again = warped(images, self.image_shape, batch.other_maps)
        loss, l2 = self.reconstruction_phase(images, batch.hidden_noise, learn, batch.decoder_noise)
        n = self.config.discriminator_steps
        samples, noises = (backend.turns_of(a, n) for a in (batch.prior_codes, batch.code_noise))
        for real, noise in zip(samples, noises):
            told = self.discriminator_phase(noisy(self.codes, noise), real, batch.condition, learn)
        if self.classifier is not None:
            self.classifier_phase(samples[0], batch.pieces, learn)
        weight = (1 - batch.left) * self.config.pseudo_label_weight
        guesses = weight * self.guess(self.codes, batch.condition) if self.pseudo_labels else None
        fooled = self.generator_phase(again, batch, guesses, learn)
        return dict(zip(self.metrics, (loss, l2, *told, *fooled)))

    def discriminator_phase(
        self, codes: NDArray, prior_codes: NDArray, condition: MaybeArray, learn: Learn
    ) -> Pair:
        """Train the discriminator to tell ``codes`` from ``prior_codes``, both (N, code_dim)."""
        loss, entropy, accuracy = self.tell(fake=codes, real=prior_codes, beside=condition)
        learn(loss, "discriminator")
        return entropy, accuracy

    def classifier_phase(self, prior_codes: NDArray, pieces: NDArray, learn: Learn) -> None:
        """Train the classifier to tell the ``pieces`` (N, labels), one-hot, of ``prior_codes``."""
        learn(self.tell_pieces(codes=prior_codes, pieces=pieces), "classifier")

    def _tell_pieces(self, F, given):
        return [self.label_loss(self.classifier(given.codes), given.pieces)]

    def guess(self, codes: NDArray, condition: NDArray) -> NDArray:
        """What the classifier is sure of for images without a label, one-hot (N, labels).

        Source: Lee, Pseudo-Label (2013); for images changed more strongly: Sohn et al. (2020).
        """
        unlabelled = condition[:, len(self.classes) :]
        return (backend.mx.nd.softmax(self.classifier(codes)) > SURE) * unlabelled

    def generator_phase(
        self, images: NDArray, batch: Batch, guesses: MaybeArray, learn: Learn
    ) -> Pair:
        """Train the encoder to make the discriminator take its codes for prior samples.

        Where there is a classifier, also to make it tell the label of each labelled image (Odena et
        al., Auxiliary Classifier GANs, 2017); ``guesses`` (N, labels), or None, are added to them.
        """
        noise = {"noise": batch.generator_noise, "hidden_noise": batch.generator_hidden_noise}
        given = {"images": images, "condition": batch.condition, "guesses": guesses}
        entropy, fooled, *total = self.deceive(**given, **noise)
        learn(total[0] if total else entropy, "generator")
        return entropy, fooled

    def _deceive(self, F, given):
        from aae_mx.networks.noise import noisy

        # Encoded afresh: the encoder has changed since.
        codes = noisy(self.encode_with(given.hidden_noise, given.images), given.noise)
        entropy, fooled = self.game.fool(codes, given.condition)
        if self.classifier is None:
            return entropy, fooled
        labels = F.slice_axis(given.condition, axis=1, begin=0, end=len(self.classes))
        if given.guesses is not None:
            labels = labels + given.guesses
        label_loss = self.label_loss(self.classifier(codes), labels)
        return entropy, fooled, entropy + self.config.classifier_weight * label_loss

    def about(self) -> dict[str, Any]:
        return {"mode": self.name, "formulation": FORMULATIONS[self.config.labels_kind]}
