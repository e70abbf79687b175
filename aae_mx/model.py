"""A trained (or untrained) adversarial autoencoder: encode, decode, sample."""

from __future__ import annotations

import numpy as np

from aae_mx import data, priors
from aae_mx.backend import context, mx
from aae_mx.errors import InputError
from aae_mx.losses import AdversarialLoss, ReconstructionLoss
from aae_mx.networks import build_networks

# Images per forward pass outside of training; large enough to keep the cores busy.
INFERENCE_BATCH = 1000


class AAE:
    """The three networks with what is needed to use them.

    ``image_shape`` is (height, width), ``classes`` the names of the labels. The networks are
    freshly drawn from the config's seed; ``aae_mx.fit`` and ``aae_mx.load`` return trained
    ones, with their directory as ``run``.
    """

    run = None

    def __init__(self, config, image_shape, classes):
        self.config = config
        self.image_shape = tuple(image_shape)
        self.classes = tuple(classes)
        self.ctx = context(config.ctx)
        self.networks = build_networks(
            config, int(np.prod(self.image_shape)), len(self.classes), self.ctx
        )
        self.encoder = self.networks["encoder"]
        self.decoder = self.networks["decoder"]
        self.discriminator = self.networks["discriminator"]
        self.reconstruction_loss = ReconstructionLoss(
            config.reconstruction,
            scale=1 / np.prod(self.image_shape) if config.reduction == "mean" else 1,
        )
        self.adversarial_loss = AdversarialLoss()

    def encode(self, images):
        """Codes z, float32 of shape (N, code_dim).

        ``images``: uint8 in 0–255 or floats in 0–1, of shape (N, height, width) or
        (N, pixels). Raises InputError for other shapes, types and values.
        """
        return self._in_batches(self.encoder, self._pixels(images))

    def decode(self, codes):
        """Images, float32 in 0–1 of shape (N, height, width), from codes (N, code_dim).

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
                n_labels=len(self.classes),
                labels=labels,
                **self.config.prior_parameters,
            )
        except ValueError as error:
            raise InputError(str(error)) from error

    def sample(self, n, labels=None, seed=None):
        """``n`` new images: prior samples, decoded. Arguments as in ``sample_prior``.

        Returns float32 in 0–1 of shape (n, height, width).
        """
        codes, _ = self.sample_prior(n, labels, seed)
        return self.decode(codes)

    def reconstruct(self, images):
        """Images encoded and decoded: float32 in 0–1 of shape (N, height, width)."""
        return self.decode(self.encode(images))

    def _pixels(self, images):
        """Images as float32 in 0–1, (N, pixels)."""
        images = np.asarray(images)
        n_pixels = int(np.prod(self.image_shape))
        if images.shape[1:] not in (self.image_shape, (n_pixels,)):
            raise InputError(
                f"images of shape {images.shape}: expected (N, {n_pixels}) or "
                f"(N, {', '.join(map(str, self.image_shape))})"
            )
        if images.dtype == np.uint8:
            return data.to_unit(images)
        if not np.issubdtype(images.dtype, np.floating):
            raise InputError(f"images of type {images.dtype}: expected uint8 or floats in 0-1")
        pixels = images.reshape(-1, n_pixels).astype(np.float32)
        if pixels.size and not (pixels.min() >= 0 and pixels.max() <= 1):
            raise InputError(
                f"images with pixels from {pixels.min()} to {pixels.max()}: expected uint8, or "
                "floats in 0-1"
            )
        return pixels

    def _in_batches(self, network, rows):
        outputs = [
            network(mx.nd.array(rows[start : start + INFERENCE_BATCH], ctx=self.ctx))
            for start in range(0, len(rows), INFERENCE_BATCH)
        ]
        if not outputs:
            # Nothing in, nothing out, but with the right number of columns.
            return network(mx.nd.zeros((1, rows.shape[1]), ctx=self.ctx)).asnumpy()[:0]
        return mx.nd.concat(*outputs, dim=0).asnumpy()
