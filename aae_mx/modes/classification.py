"""Section 5 of the paper: an encoder that says what an image is (y) and how it is drawn (z).

Phases for every batch, of which an epoch is one pass over all images:

1. *Reconstruction*: encoder and decoder learn to give the image back from y and z.
2. *Discriminators*: one learns to tell y from one-hot vectors, one z from samples of its prior.
3. *Generator*: the encoder learns to make both take its y and z for such samples.
4. *Classification*: the encoder learns to tell the labels of the images that have one.
"""

from __future__ import annotations

import numpy as np

from aae_mx import backend, priors
from aae_mx.errors import ConfigError
from aae_mx.modes.mode import Mode, Moves

# From which probability on the encoder is taken at its word; Sohn et al. have 0.95.
SURE = 0.95


class Classification(Mode):
    name = "classification"
    summary = "what an image is and how it is drawn, from few labels (paper, section 5)"
    settings = (
        *("labels", "style_dim", "reconstruction_rate", "decoder_rate", "discriminator_rate"),
        *("generator_rate", "classification_rate", "labelled_share", "image_warp", "hidden_noise"),
        *("noise_decay", "input_noise", "code_noise", "code_noise_decay", "pseudo_label_weight"),
    )
    metrics = (
        *("reconstruction_loss", "reconstruction_l2", "classification_entropy", "training_error"),
        *("kind_entropy", "kind_accuracy", "style_entropy", "style_accuracy"),
        *("generator_entropy", "kind_fooled", "style_fooled"),
    )
    bar = (
        "reconstruction {reconstruction_l2:.2f}  labels {classification_entropy:.3f}"
        "  discriminators {kind_entropy:.3f}, {style_entropy:.3f}"
    )
    line = (
        "reconstruction {reconstruction_l2:.3f}, held out {held_out_l2:.3f}"
        "  labels {classification_entropy:.3f} ({training_error:.2%} wrong)"
        "  discriminators {kind_accuracy:.1%}, {style_accuracy:.1%} right"
    )
    figures = ("qz", "styles", "samples", "confusion", "reconstructions", "losses")
    measures = ("classification", "kinds", "match", "neighbours", "reconstruction", "samples")
    optimizers = {
        "encoder": Moves(("encoder",), "reconstruction_rate"),
        "decoder": Moves(("decoder",), "decoder_rate"),
        "kind": Moves(("kind",), "discriminator_rate", True),
        "style": Moves(("style",), "discriminator_rate", True),
        "generator": Moves(("encoder",), "generator_rate", True),
        "classifier": Moves(("encoder",), "classification_rate"),
    }
    decodes_labels = classifies = True
    dimensions = "style_dim"

    @classmethod
    def check(cls, config):
        if config.labels == "none":
            what = "it needs labels: add --labels N for those of N images, or --labels for all"
            raise ConfigError("mode", cls.name, what)
        super().check(config)

    @classmethod
    def names(cls, config):
        prior = () if config.prior == "gaussian" else (config.prior,)
        return (cls.name, str(config.labels), *prior)

    def build(self):
        from aae_mx.networks.game import Game

        self.n_labels = len(self.classes)
        networks = self.autoencoder(self.n_labels + self.config.style_dim)
        networks["kind"] = self.discriminator(self.n_labels)
        networks["style"] = self.discriminator(self.config.style_dim)
        self.kind, self.style = Game(networks["kind"]), Game(networks["style"])
        return networks

    def draw(self, rng, labels, left):
        from aae_mx.networks import noise

        config, n, k = self.config, len(left), self.n_labels
        # Zeros where the label is unknown.
        arrays = {"labels": np.eye(k + 1, k, dtype=np.float32)[labels]}
        arrays["kinds"], _ = priors.categorical(n, rng, k)
        arrays["styles"], _ = self.sample_prior(n, rng)
        if config.code_noise:
            scale = noise.code_scale(config, left)
            for name, columns in (("kind", k), ("style", self.code_dim)):
                for whose in (f"{name}_noise", f"generator_{name}_noise"):
                    arrays[whose] = scale * rng.standard_normal((n, columns), np.float32)
                arrays[f"{name}s"] += scale * rng.standard_normal((n, columns), np.float32)
        phases = ("", "generator_", "classifier_")
        arrays.update(noise.against_heart(self, rng, left, 2, phases, config.input_noise))
        return arrays

    def step(self, batch, learn):
        from aae_mx.networks.noise import noisy, warped

        nd, record = backend.mx.nd, backend.mx.autograd.record
        # Without the images that come again because they have a label.
        own = batch.first(len(batch.images) - self.labelled_per_batch)
        images = warped(own.images, self.image_shape, own.maps)

        with record():
            logits, z = self._heads(images, own)
            both = nd.concat(nd.softmax(logits), z, dim=1)
            loss, l2 = self.reconstruction_loss(self.networks["decoder"](both), images)
        learn(loss, "encoder", "decoder")
        self.codes, y = z.detach(), nd.softmax(logits).detach()

        with record():
            kind = self.kind.tell(noisy(y, own.kind_noise), own.kinds)
            style = self.style.tell(noisy(self.codes, own.style_noise), own.styles)
            loss_of_both = kind[0] + style[0]
        learn(loss_of_both, "kind", "style")

        with record():
            # Encoded afresh: the encoder has changed since.
            logits, z = self._heads(images, own, "generator_")
            fake = noisy(nd.softmax(logits), own.generator_kind_noise)
            fooling, kind_fooled = self.kind.fool(fake)
            more, style_fooled = self.style.fool(noisy(z, own.generator_style_noise))
            fooling = fooling + more
        learn(fooling, "generator")

        images = warped(batch.images, self.image_shape, batch.other_maps)
        targets, known = batch.labels, nd.maximum(nd.sum(batch.labels), 1)
        if self.config.pseudo_label_weight and self.config.labels_kind == "some":
            weight = (1 - batch.left) * self.config.pseudo_label_weight
            guesses = nd.zeros_like(targets)
            guesses[: len(y)] = self.guess(y, own.labels)
            # Those with a label weigh as much, however many the others are.
            targets = targets + weight * guesses * known / len(y)
        with record():
            logits, _ = self._heads(images, batch, "classifier_")
            loss_of_labels = self.label_loss(logits, targets) * len(images) / known
        learn(loss_of_labels, "classifier")

        entropy = self.label_loss(logits, batch.labels) * len(images) / known
        right = nd.sum(nd.pick(batch.labels, nd.argmax(logits, axis=1), axis=1)) / known
        values = (loss, l2, entropy, 1 - right, *kind[1:], *style[1:])
        return dict(zip(self.metrics, (*values, fooling, kind_fooled, style_fooled)))

    def guess(self, y, labels):
        """What the encoder is sure of for images without a label (Sohn et al.), one-hot."""
        return (y > SURE) * (1 - backend.mx.nd.sum(labels, axis=1, keepdims=True))

    def _heads(self, images, batch=None, phase=""):
        """Logits of y (N, labels) and z (N, style_dim) of images; in training with noise."""
        if batch is not None and f"{phase}input_noise" in batch:
            images = images + batch[f"{phase}input_noise"]
        both = self.encode_with(batch and batch.get(f"{phase}hidden_noise"), images)
        cut, k = backend.mx.nd.slice_axis, self.n_labels
        return cut(both, axis=1, begin=0, end=k), cut(both, axis=1, begin=k, end=None)

    def encode(self, images):
        return self._heads(images)[1]

    def classify(self, images):
        return backend.mx.nd.softmax(self._heads(images)[0])

    def represent(self, images):
        logits, z = self._heads(images)
        return z, backend.mx.nd.softmax(logits)

    def decode(self, codes, kinds):
        """Pixels of styles z (N, style_dim) and kinds y (N, labels), one-hot or in between."""
        both = backend.mx.nd.concat(kinds, codes, dim=1)
        return backend.mx.nd.sigmoid(self.networks["decoder"](both))

    def sample_prior(self, n, rng, labels=None):
        """Styles; the pieces of their prior stand for nothing, and the labels are of the kinds."""
        codes, _ = self.prior.sample(n, rng, self.code_dim, self.n_pieces)
        return codes, priors.categorical(n, rng, self.n_labels, labels)[1]

    def exports(self):
        encoder, decoder, k = self.networks["encoder"], self.networks["decoder"], self.n_labels

        def styles(F, images):
            return F.slice_axis(encoder(images), axis=1, begin=k, end=None)

        def kinds(F, images):
            return F.softmax(F.slice_axis(encoder(images), axis=1, begin=0, end=k))

        def images(F, codes, kinds):
            return F.sigmoid(decoder(F.concat(kinds, codes, dim=1)))

        return {
            "encoder": ({"images": self.n_pixels}, "codes", styles),
            "classifier": ({"images": self.n_pixels}, "kinds", kinds),
            "decoder": ({"codes": self.code_dim, "kinds": k}, "images", images),
        }

    def about(self):
        return {"mode": self.name, "labels": self.config.labels}
