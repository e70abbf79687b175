"""What sections 5 to 7 of the paper share: two latent codes of an image, each with its game.

The kind y says what an image is, the style z how it is drawn. One encoder has a head for each: the
softmax of the first numbers that it gives is y, the rest is z. A mode has one Latents, and calls
its parts in the order of its own phases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from aae_mx import backend, priors
from aae_mx.hints import Batch, Exports, Generator, Labels, Learn, Mode, NDArray, Operators, Pair
from aae_mx.modes.mode import Moves

if TYPE_CHECKING:
    from aae_mx.networks.phase import Given

# What a mode with both has, and what one with labels has besides.
SETTINGS = (
    *("reconstruction_rate", "decoder_rate", "discriminator_rate", "generator_rate"),
    *("image_warp", "image_bend", "hidden_noise", "noise_decay", "input_noise", "code_noise"),
    *("code_noise_decay", "kind_weight", "style_weight", "consistency_weight"),
    *("information_weight", "information_balance"),
)
LABEL_SETTINGS = ("classification_rate", "labelled_share", "pseudo_label_weight")
METRICS = (
    *("reconstruction_loss", "reconstruction_l2"),
    *("kind_entropy", "kind_accuracy", "style_entropy", "style_accuracy"),
    *("generator_entropy", "kind_fooled", "style_fooled"),
)
LABEL_METRICS = ("classification_entropy", "training_error")
OPTIMIZERS = {
    "encoder": Moves(("encoder",), "reconstruction_rate"),
    "decoder": Moves(("decoder",), "decoder_rate"),
    "kind": Moves(("kind",), "discriminator_rate", True),
    "style": Moves(("style",), "discriminator_rate", True),
    "generator": Moves(("encoder",), "generator_rate", True),
}
LABEL_OPTIMIZERS = {"classifier": Moves(("encoder",), "classification_rate")}
BAR = (
    "reconstruction {reconstruction_l2:.2f}  discriminators {kind_entropy:.3f}, {style_entropy:.3f}"
)
LINE = (
    "reconstruction {reconstruction_l2:.3f}, held out {held_out_l2:.3f}"
    "  discriminators {kind_accuracy:.1%}, {style_accuracy:.1%} right"
)
LABEL_BAR = BAR + "  labels {classification_entropy:.3f}"
LABEL_LINE = LINE + "  labels {classification_entropy:.3f} ({training_error:.2%} wrong)"
# From which probability on the encoder is taken at its word; Sohn et al. have 0.95.
SURE = 0.95


def cluster_names(n: int) -> tuple[str, ...]:
    return tuple(f"cluster {i + 1}" for i in range(n))


class Latents:
    """The heads of a mode's encoder and their games; ``dims``: of z. y is as wide as ``kinds``.

    ``networks``: encoder, decoder and discriminators. The decoder takes ``n_decoded`` numbers, y
    and z if that is None.
    """

    def __init__(self, mode: Mode, dims: int, n_decoded: Optional[int] = None) -> None:
        from aae_mx.networks.game import Game
        from aae_mx.networks.losses import ConsistencyLoss, InformationLoss
        from aae_mx.networks.phase import Phase

        self.mode, self.n_kinds, self.dims = mode, len(mode.kinds), dims
        self.networks = {
            **mode.autoencoder(self.n_kinds + dims, n_decoded),
            "kind": mode.discriminator(self.n_kinds),
            "style": mode.discriminator(dims),
        }
        encoder, decoder, *discriminators = self.networks.values()
        self.kind, self.style = map(Game, discriminators)
        self.consistency = ConsistencyLoss()
        # Among workers, H(y) is that of what all of them have.
        balance = 0 if self.shared else mode.config.information_balance
        self.information = InformationLoss(balance)
        self.reconstruct = Phase(self._reconstruct, encoder, decoder)
        self.tell = Phase(self._tell, *discriminators)
        self.fool = Phase(self._fool, encoder, still=discriminators)
        self.tell_labels = Phase(self._tell_labels, encoder)

    def heads(self, images: NDArray) -> Pair:
        """Logits of y (N, kinds) and z (N, dims) of images."""
        return self.split(backend.mx.nd, self.mode.encode_with(None, images))

    def noisy_heads(self, F: Operators, given: Given) -> Pair:
        """The same in a Phase, of the images that it is given, with the noise that it is given."""
        from aae_mx.networks.noise import noisy

        images = noisy(given.images, given.input_noise)
        return self.split(F, self.mode.encode_with(given.hidden_noise, images))

    def split(self, F: Operators, both: NDArray) -> Pair:
        """What an encoder gives, (N, kinds + dims), in two."""
        cut, k = F.slice_axis, self.n_kinds
        return cut(both, axis=1, begin=0, end=k), cut(both, axis=1, begin=k, end=None)

    def sample(self, n: int, rng: Generator, kinds: Labels = None) -> tuple[np.ndarray, np.ndarray]:
        """Styles (n, dims) of the prior, whose pieces stand for nothing, and kinds (n,)."""
        styles, _ = self.mode.prior.sample(n, rng, self.dims, self.mode.n_pieces)
        return styles, priors.categorical(n, rng, self.n_kinds, kinds)[1]

    def represent(self, images: NDArray) -> Pair:
        """Styles and kinds of images."""
        logits, z = self.heads(images)
        return z, backend.mx.nd.softmax(logits)

    def decoder_logits(self, codes: NDArray, kinds: NDArray) -> NDArray:
        """What a decoder of both makes of styles and kinds."""
        return self.mode.networks["decoder"](backend.mx.nd.concat(kinds, codes, dim=1))

    def exports(self) -> Exports:
        """As ``Mode.exports``, with a decoder of both."""
        encoder, decoder = (self.mode.networks[name] for name in ("encoder", "decoder"))
        pixels = {"images": self.mode.n_pixels}

        def styles(F, images):
            return self.split(F, encoder(images))[1]

        def images(F, codes, kinds):
            return self.mode.output(F, decoder(F.concat(kinds, codes, dim=1)))

        return {
            "encoder": (pixels, "codes", styles),
            "classifier": (pixels, "kinds", self.classifier),
            "decoder": ({"codes": self.dims, "kinds": self.n_kinds}, "images", images),
        }

    def classifier(self, F: Operators, images: NDArray) -> NDArray:
        """y of images."""
        return F.softmax(self.split(F, self.mode.networks["encoder"](images))[0])

    # Training.

    def draw(self, rng: Generator, labels: Labels, left: np.ndarray) -> dict[str, Any]:
        """As ``Mode.draw``: one-hot labels, samples of both priors, noise and warps."""
        from aae_mx.networks import noise

        config, n, k, arrays = self.mode.config, len(left), self.n_kinds, {}
        phases = [*([] if self.consistent else [""]), "generator_"]
        if labels is not None:
            # Zeros where the label is unknown.
            arrays["labels"] = np.eye(k + 1, k, dtype=np.float32)[labels]
            phases.append("classifier_")
        arrays["kinds"], _ = priors.categorical(n, rng, k)
        arrays["styles"], _ = self.sample(n, rng)
        if config.code_noise:
            scale = noise.code_scale(config, left)
            for name, columns in (("kind", k), ("style", self.dims)):
                for whose in (f"{name}_noise", f"generator_{name}_noise"):
                    arrays[whose] = scale * rng.standard_normal((n, columns), np.float32)
                arrays[f"{name}s"] += scale * rng.standard_normal((n, columns), np.float32)
        n_maps = 2 if self.consistent or labels is not None else 1
        arrays.update(noise.against_heart(self.mode, rng, left, n_maps, phases, config.input_noise))
        return arrays

    @property
    def consistent(self) -> bool:
        """Whether y has to be the same for an image warped otherwise.

        Then the first phase, which says what it has to be, has no noise.
        """
        return self.mode.config.consistency_weight > 0

    def views(self, batch: Batch) -> tuple[Batch, NDArray, NDArray]:
        """The batch without the images that come again as they have a label, and its images twice.

        First those of the first phase, then all for the others, each warped at random.
        """
        from aae_mx.networks.noise import warped

        shape = self.mode.image_shape
        own = batch.own()
        images = warped(own.images, shape, own.maps)
        if batch.other_maps is None and len(own.images) == len(batch.images):
            # Nothing is to be learnt from another view.
            return own, images, images
        return own, images, warped(batch.images, shape, batch.other_maps)

    def _reconstruct(self, F, given):
        """What encoder and decoder have to learn: the loss, L2, z and y."""
        logits, z = self.noisy_heads(F, given)
        y = F.softmax(logits)
        both = self.networks["decoder"](F.concat(y, z, dim=1))
        return (*self.mode.reconstruction_loss(both, given.images), F.BlockGrad(z), F.BlockGrad(y))

    def play(
        self, again: NDArray, y: NDArray, z: NDArray, batch: Batch, learn: Learn
    ) -> tuple[NDArray, ...]:
        """The phases of discriminators and generator; returns seven metrics.

        ``y``, ``z``: of the images of ``batch``, without gradients; ``again``: these warped anew.
        """
        names = ("kinds", "kind_noise", "styles", "style_noise")
        loss, *told = self.tell(y=y, z=z, **{name: batch.get(name) for name in names})
        learn(loss, "kind", "style", share=batch.share)
        loss, *fooled = self.fool(
            images=backend.rows_of(again, 0, len(y)),
            before=y if self.consistent else None,
            kind_noise=batch.generator_kind_noise,
            style_noise=batch.generator_style_noise,
            **noise_of(batch, "generator_"),
        )
        if self.shared:
            *fooled, y = fooled
            loss = self.with_kinds_of_all(loss, y, batch.share)
        learn(loss, "generator", share=batch.share)
        return (*told, *fooled)

    @property
    def shared(self) -> bool:
        """Whether information is asked of batches that workers share: it is not one of each row."""
        return bool(self.mode.config.information_weight) and self.mode.exchange.n > 1

    def with_kinds_of_all(self, loss: NDArray, y: NDArray, share: float) -> NDArray:
        """The loss with −H(y) of the whole batch; ``y`` (N, kinds) is that of a worker's rows."""
        nd, config = backend.mx.nd, self.mode.config
        with backend.mx.autograd.record():
            own = nd.mean(y, axis=0)
            of_all = share * own.detach()
            self.mode.exchange.sum("kinds of all", [of_all])
            # Its value is that of all, its gradient goes through this worker's.
            of_all = of_all + own - own.detach()
            entropy = -nd.sum(of_all * nd.log(of_all + 1e-8))
            return loss - config.information_weight * config.information_balance * entropy

    def _tell(self, F, given):
        """What the discriminators have to learn: the loss, and four metrics."""
        from aae_mx.networks.noise import noisy

        kind = self.kind.tell(noisy(given.y, given.kind_noise), given.kinds)
        style = self.style.tell(noisy(given.z, given.style_noise), given.styles)
        return (kind[0] + style[0], *kind[1:], *style[1:])

    def _fool(self, F, given):
        """What the generator has to learn: the loss, and three metrics.

        ``before``: y of the same images warped otherwise.
        """
        from aae_mx.networks.noise import noisy

        # Encoded afresh: the encoder has changed since.
        logits, z = self.noisy_heads(F, given)
        config, y = self.mode.config, F.softmax(logits)
        entropy, kind_fooled = self.kind.fool(noisy(y, given.kind_noise))
        more, style_fooled = self.style.fool(noisy(z, given.style_noise))
        loss = config.kind_weight * entropy + config.style_weight * more
        if self.consistent:
            loss = loss + config.consistency_weight * self.consistency(logits, given.before)
        if config.information_weight:
            loss = loss + config.information_weight * self.information(logits)
        told = loss, entropy + more, kind_fooled, style_fooled
        return (*told, y) if self.shared else told

    def learn_labels(self, images: NDArray, y: NDArray, batch: Batch, learn: Learn) -> Pair:
        """The phase of classification on ``images`` (N, pixels), warped ones of ``batch``.

        ``y``: what the first of them were before, for pseudo-labels. Returns the cross-entropy of
        the images with a label and the share of them that is told wrong.
        """
        nd, config = backend.mx.nd, self.mode.config
        known, given = max(batch.n_known, 1), {"labels": batch.labels}
        if config.pseudo_label_weight and config.labels_kind == "some":
            if batch.drawn:
                y = nd.concat(y, nd.zeros((batch.drawn, self.n_kinds), ctx=y.context), dim=0)
            # Those with a label weigh as much, however many the others are.
            weight = (1 - batch.left) * config.pseudo_label_weight * known / batch.n_own
            given.update({"y": y, "weight": nd.full((1, 1), weight, ctx=y.context)})
        loss, entropy, wrong = self.tell_labels(
            images=images,
            # The loss is a mean over all rows, of which so many have a label.
            scale=nd.full((1,), batch.n_all / known, ctx=images.context),
            **given,
            **noise_of(batch, "classifier_"),
        )
        learn(loss, "classifier", share=batch.share)
        return entropy, wrong

    def _tell_labels(self, F, given):
        targets = labels = given.labels
        if given.y is not None:
            targets = labels + F.broadcast_mul(given.weight, self.guess(F, given.y, labels))
        logits, _ = self.noisy_heads(F, given)
        loss = self.mode.label_loss(logits, targets) * given.scale
        logits = F.BlockGrad(logits)
        entropy = self.mode.label_loss(logits, labels) * given.scale
        right = F.mean(F.pick(labels, F.argmax(logits, axis=1), axis=1)) * given.scale
        return loss, entropy, 1 - right

    def guess(self, F: Operators, y: NDArray, labels: NDArray) -> NDArray:
        """What the encoder is sure of for images without a label (Sohn et al.), one-hot."""
        return F.broadcast_mul(y > SURE, 1 - F.sum(labels, axis=1, keepdims=True))


def noise_of(batch: Batch, phase: str = "") -> dict[str, Any]:
    """The noise on images and hidden units of a phase, by the names that ``noisy_heads`` knows."""
    return {name: batch.get(phase + name) for name in ("input_noise", "hidden_noise")}
