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
from aae_mx.modes.mode import Mode, Moves, labelled_share
from aae_mx.settings import Setting

# From which probability on the encoder is taken at its word; Sohn et al. have 0.95.
SURE = 0.95


class Classification(Mode):
    name = "classification"
    summary = "what an image is and how it is drawn, from few labels: paper, section 5"
    settings = (
        "labels",
        Setting("style_dim", int, 10, "Dimensions of the style z.", "networks", at_least=2),
        *("reconstruction_rate", "decoder_rate", "discriminator_rate", "generator_rate"),
        *("classification_rate", "labelled_share", "image_warp", "hidden_noise"),
        Setting(
            "input_noise",
            float,
            0.0,
            "Standard deviation of a noise on the encoder's input in training; the image without "
            "it is to be given back.",
            "noise",
            at_least=0,
        ),
        *("code_noise", "code_noise_decay", "pseudo_label_weight"),
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

    @classmethod
    def check(cls, config):
        if config.labels == "none":
            raise ConfigError(
                "mode",
                cls.name,
                "it needs labels: add --labels N for those of N images, or --labels for all",
            )
        if config.style_dim % 2 and priors.find(config.prior).paired:
            raise ConfigError(
                "style_dim",
                config.style_dim,
                f"expected an even number, as {config.prior} is drawn in pairs of dimensions",
            )

    @classmethod
    def names(cls, config):
        prior = () if config.prior == "gaussian" else (config.prior,)
        return (cls.name, str(config.labels), *prior)

    def build(self):
        from aae_mx.networks.build import autoencoder
        from aae_mx.networks.game import Game
        from aae_mx.networks.losses import LabelLoss, ReconstructionLoss
        from aae_mx.networks.perceptrons import Discriminator, NoisyEncoder

        config = self.config
        self.n_labels = len(self.classes)
        encoder, decoder = autoencoder(config, self.image_shape, self.n_labels + config.style_dim)
        hidden, activation = config.discriminator_hidden, config.activation
        networks = {
            "encoder": encoder,
            "decoder": decoder,
            "kind": Discriminator(self.n_labels, 0, hidden, activation),
            "style": Discriminator(config.style_dim, 0, hidden, activation),
        }
        self.noisy_encoder = NoisyEncoder(encoder) if config.hidden_noise else None
        self.kind, self.style = Game(networks["kind"]), Game(networks["style"])
        self.reconstruction_loss = ReconstructionLoss.of(config, self.n_pixels)
        self.label_loss = LabelLoss()
        return networks

    @property
    def code_dim(self):
        return self.config.style_dim

    @property
    def labelled_per_batch(self):
        return labelled_share(self.config)

    def draw(self, rng, labels, left):
        from aae_mx.networks import noise

        config, n, k = self.config, len(left), self.n_labels
        # Zeros where the label is unknown.
        arrays = {"labels": np.eye(k + 1, k, dtype=np.float32)[labels]}
        arrays["kinds"], _ = priors.categorical(n, rng, k)
        arrays["styles"], _ = self.sample_prior(n, rng)
        if config.code_noise:
            scale = noise.code_scale(config, left)
            for name in ("kind_noise", "generator_kind_noise"):
                arrays[name] = scale * rng.standard_normal((n, k), np.float32)
            arrays["kinds"] += scale * rng.standard_normal((n, k), np.float32)
            for name in ("style_noise", "generator_style_noise"):
                arrays[name] = scale * rng.standard_normal((n, self.code_dim), np.float32)
            arrays["styles"] += scale * rng.standard_normal((n, self.code_dim), np.float32)
        if config.image_warp:
            arrays["maps"] = noise.affine_maps(config, rng, left)
            arrays["other_maps"] = noise.affine_maps(config, rng, left)
        if config.hidden_noise:
            bank = noise.bank(config, rng, config.hidden[0], self.ctx)
            names = ("hidden_noise", "generator_hidden_noise", "classifier_hidden_noise")
            arrays.update(noise.stretches(bank, names, rng, left, config))
        if config.input_noise:
            bank = noise.bank(config, rng, self.n_pixels, self.ctx, config.input_noise)
            names = ("input_noise", "generator_input_noise", "classifier_input_noise")
            arrays.update(noise.stretches(bank, names, rng, left, config, falling=False))
        return arrays

    def step(self, batch, learn):
        from aae_mx.networks.noise import warped

        images = again = batch.images
        if batch.maps is not None:
            images = warped(batch.images, self.image_shape, batch.maps)
            again = warped(batch.images, self.image_shape, batch.other_maps)
        nd, record = backend.mx.nd, backend.mx.autograd.record

        with record():
            logits, z = self._heads(images, batch.hidden_noise, batch.input_noise)
            y = nd.softmax(logits)
            loss, l2 = self.reconstruction_loss(
                self.networks["decoder"](nd.concat(y, z, dim=1)), images
            )
        learn(loss, "encoder", "decoder")
        self.codes, y, logits = z.detach(), y.detach(), logits.detach()

        with record():
            told = self.kind.tell(_noisy(y, batch.kind_noise), batch.kinds)
            told_style = self.style.tell(_noisy(self.codes, batch.style_noise), batch.styles)
            loss_of_both = told[0] + told_style[0]
        learn(loss_of_both, "kind", "style")

        with record():
            # Encoded afresh: the encoder has changed since.
            new_logits, z = self._heads(
                images, batch.generator_hidden_noise, batch.generator_input_noise
            )
            kind, kind_fooled = self.kind.fool(
                _noisy(nd.softmax(new_logits), batch.generator_kind_noise)
            )
            style, style_fooled = self.style.fool(_noisy(z, batch.generator_style_noise))
            fooling = kind + style
        learn(fooling, "generator")

        targets = batch.labels
        if self.config.pseudo_label_weight and self.config.labels_kind == "some":
            weight = (1 - batch.left) * self.config.pseudo_label_weight
            targets = targets + weight * self.guess(y, batch.labels)
        # Over the images that have a label, however many share the batch with them.
        known = nd.sum(batch.labels)
        with record():
            new_logits, _ = self._heads(
                again, batch.classifier_hidden_noise, batch.classifier_input_noise
            )
            entropy = self.label_loss(new_logits, targets)
            loss_of_labels = entropy * len(images) / known
        learn(loss_of_labels, "classifier")
        right = nd.sum(nd.pick(batch.labels, nd.argmax(logits, axis=1), axis=1)) / known
        values = (loss, l2, self.label_loss(logits, batch.labels) * len(images) / known, 1 - right)
        values += (*told[1:], *told_style[1:], fooling, kind_fooled, style_fooled)
        return dict(zip(self.metrics, values))

    def guess(self, y, labels):
        """What the encoder is sure of for images without a label, one-hot (N, labels)."""
        unlabelled = 1 - backend.mx.nd.sum(labels, axis=1, keepdims=True)
        return (y > SURE) * unlabelled

    def _heads(self, images, hidden_noise=None, input_noise=None):
        """Logits of the kind y (N, labels) and the style z (N, style_dim) of images (N, pixels)."""
        if input_noise is not None:
            images = images + input_noise
        if hidden_noise is None:
            both = self.networks["encoder"](images)
        else:
            both = self.noisy_encoder(images, hidden_noise)
        slice_axis = backend.mx.nd.slice_axis
        return (
            slice_axis(both, axis=1, begin=0, end=self.n_labels),
            slice_axis(both, axis=1, begin=self.n_labels, end=None),
        )

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
        return codes, labels if labels is not None else rng.integers(self.n_labels, size=n)

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


def _noisy(codes, noise):
    return codes if noise is None else codes + noise
