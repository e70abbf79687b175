"""A trained (or untrained) adversarial autoencoder: encode, decode, sample."""

from __future__ import annotations

import numpy as np

from aae_mx import data, metrics, priors
from aae_mx.backend import context, mx
from aae_mx.errors import InputError
from aae_mx.losses import AdversarialLoss, LabelLoss, ReconstructionLoss
from aae_mx.networks import NoisyEncoder, build_networks, parameters

# Images per forward pass outside of training, large enough to keep the cores busy: so many, or
# fewer of so many pixels together.
INFERENCE_BATCH, INFERENCE_PIXELS = 1000, 2_000_000


class AAE:
    """The networks with what is needed to use them.

    ``image_shape`` is (height, width), or (height, width, 3) in colour; ``classes`` are the names
    of the labels, none for images without. The networks are
    freshly drawn from the config's seed; ``aae_mx.fit`` and ``aae_mx.load`` return trained
    ones, with their directory as ``run`` and the epochs behind them as ``epoch``.

    A model can be copied and pickled; a copy has weights of its own.
    """

    run = epoch = None

    def __init__(self, config, image_shape, classes):
        self.config = config
        self.image_shape = tuple(image_shape)
        self.classes = tuple(classes)
        self.ctx = context(config.ctx)
        self.n_pixels = int(np.prod(self.image_shape))
        # Into how many pieces the prior falls: one per label, ten as in the post without any.
        self.n_pieces = len(self.classes) or 10
        self.networks = build_networks(config, self.image_shape, len(self.classes), self.ctx)
        self.encoder = self.networks["encoder"]
        self.noisy_encoder = NoisyEncoder(self.encoder) if config.hidden_noise else None
        self.decoder = self.networks["decoder"]
        self.discriminator = self.networks["discriminator"]
        self.classifier = self.networks.get("classifier")
        self.reconstruction_loss = ReconstructionLoss(
            config.reconstruction,
            scale=1 / self.n_pixels if config.reduction == "mean" else 1,
        )
        self.adversarial_loss = AdversarialLoss()
        self.label_loss = LabelLoss()

    def parameters(self):
        """The parameters of all networks, {"network/name": Gluon's Parameter}."""
        return {
            f"{name}/{key}": parameter
            for name, network in self.networks.items()
            for key, parameter in parameters(network).items()
        }

    def weights(self):
        """Their values, {"network/name": float32 array}."""
        return {name: parameter.data().asnumpy() for name, parameter in self.parameters().items()}

    def set_weights(self, arrays):
        """Take values from what ``weights`` gives; more arrays do no harm."""
        for name, parameter in self.parameters().items():
            parameter.set_data(mx.nd.array(arrays[name], ctx=self.ctx))

    def __getstate__(self):
        # Networks hold pointers into MXNet, which no other process could follow.
        names = ("config", "image_shape", "classes", "run", "epoch")
        return {**{name: getattr(self, name) for name in names}, "weights": self.weights()}

    def __setstate__(self, state):
        self.__init__(state["config"], state["image_shape"], state["classes"])
        self.run, self.epoch = state["run"], state["epoch"]
        self.set_weights(state["weights"])

    def __repr__(self):
        n = sum(int(np.prod(parameter.shape)) for parameter in self.parameters().values())
        parts = [
            f"{self.config.prior}, {self.config.formulation}",
            f"code_dim {self.config.code_dim}",
            f"image_shape {self.image_shape}",
            f"{len(self.classes)} classes",
            f"{n:,} weights",
        ]
        if self.epoch is not None:
            parts.append(f"epoch {self.epoch}")
        if self.run is not None:
            parts.append(f"run {self.run}")
        return f"<AAE: {', '.join(parts)}>"

    def encode(self, images):
        """Codes z, float32 of shape (N, code_dim).

        ``images``: uint8 in 0–255 or floats in 0–1, of shape (N, *image_shape) or (N, pixels).
        Raises InputError for other shapes, types and values.
        """
        return self._in_batches(self.encoder, self._checked(images), _pixels)

    def decode(self, codes):
        """Images, float32 in 0–1 of shape (N, *image_shape), from codes (N, code_dim).

        Raises InputError if the codes have another shape or are not finite.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.config.code_dim:
            raise InputError(f"codes of shape {codes.shape}: expected (N, {self.config.code_dim})")
        codes = codes.astype(np.float32)
        if not np.isfinite(codes).all():
            raise InputError("codes: expected finite numbers")
        pixels = self._in_batches(lambda z: mx.nd.sigmoid(self.decoder(z)), codes)
        return pixels.reshape(-1, *self.image_shape)

    def sample_prior(self, n, labels=None, seed=None):
        """``n`` codes of the prior and the labels of their pieces (None for the Gaussian).

        ``labels``: one label or n of them, positions in ``classes``; none for a label drawn
        at random. ``seed``: the same seed gives the same codes. Raises InputError for
        labels that the run does not know.
        """
        if labels is not None:
            if self.config.formulation == "unsupervised":
                raise InputError(
                    f"labels {labels}: this run was trained without labels, so no piece of its "
                    "prior stands for a label; leave them out, or train with --labels"
                )
            labels = np.asarray(labels)
            labels = np.broadcast_to(labels, (n,)) if labels.ndim == 0 else labels
        try:
            return priors.PRIORS[self.config.prior](
                n,
                np.random.default_rng(seed),
                code_dim=self.config.code_dim,
                n_labels=self.n_pieces,
                labels=labels,
                **self.config.prior_parameters,
            )
        except ValueError as error:
            raise InputError(str(error)) from error

    def sample(self, n, labels=None, seed=None):
        """``n`` new images: prior samples, decoded. Arguments as in ``sample_prior``.

        Returns float32 in 0–1 of shape (n, *image_shape).
        """
        codes, _ = self.sample_prior(n, labels, seed)
        return self.decode(codes)

    def reconstruct(self, images):
        """Images encoded and decoded: float32 in 0–1 of shape (N, *image_shape)."""
        return self.decode(self.encode(images))

    def error_norms(self, images):
        """The L2 norm of x̂ − x of each image, float32 of shape (N,); ``images`` as in ``encode``.

        It works in parts, so that the images may be more than fit into memory.
        """
        images = self._checked(images)
        norms = []
        for part in data.parts(images, self._batch_size):
            reconstructed = self.reconstruct(part).reshape(len(part), -1)
            norms.append(metrics.error_norms(_pixels(part), reconstructed))
            data.release_pages(images)
        return np.concatenate(norms)

    def _checked(self, images):
        """Images as an array that ``_pixels`` can take."""
        images = np.asanyarray(images)
        if images.shape[1:] not in (self.image_shape, (self.n_pixels,)):
            raise InputError(
                f"images of shape {images.shape}: expected (N, {self.n_pixels}) or "
                f"(N, {', '.join(map(str, self.image_shape))})"
            )
        if images.dtype == np.uint8:
            return images
        if not np.issubdtype(images.dtype, np.floating):
            raise InputError(f"images of type {images.dtype}: expected uint8 or floats in 0-1")
        if images.size:
            low, high = np.float32(images.min()), np.float32(images.max())
            if not (low >= 0 and high <= 1):
                raise InputError(
                    f"images with pixels from {low} to {high}: expected uint8, or floats in 0-1"
                )
        return images

    @property
    def _batch_size(self):
        return max(1, min(INFERENCE_BATCH, INFERENCE_PIXELS // self.n_pixels))

    def _in_batches(self, network, rows, ready=np.asarray):
        """The outputs for all rows, each batch of which ``ready`` makes the input."""
        queued, outputs = [], []
        for part in data.parts(rows, self._batch_size):
            queued.append(network(mx.nd.array(ready(part), ctx=self.ctx)))
            data.release_pages(rows)
            if len(queued) == 3:
                # Not all at once, as inputs and outputs would take too much memory.
                outputs.append(queued.pop(0).asnumpy())
        outputs += [output.asnumpy() for output in queued]
        if not outputs:
            # Nothing in, nothing out, but with the right number of columns.
            columns = int(np.prod(rows.shape[1:]))
            return network(mx.nd.zeros((1, columns), ctx=self.ctx)).asnumpy()[:0]
        return np.concatenate(outputs)


def _pixels(images):
    """Images, uint8 or floats, as rows of float32 in 0–1: (N, pixels)."""
    if images.dtype == np.uint8:
        return data.to_unit(images)
    return images.reshape(len(images), -1).astype(np.float32)
