"""A game: one latent code against one prior (Makhzani et al., section 2)."""

from __future__ import annotations

from aae_mx.backend import mx
from aae_mx.hints import Block, MaybeArray, NDArray, Pair
from aae_mx.networks.losses import AdversarialLoss

nd = mx.nd


class Game:
    """A discriminator learns to tell codes from prior samples, an encoder to deceive it.

    ``beside``: what stands beside the codes for a discriminator with conditions, (N,
    n_conditions), or None. Both are called while MXNet records.
    """

    def __init__(self, discriminator: Block) -> None:
        self.discriminator, self.loss = discriminator, AdversarialLoss()

    def tell(
        self, fake: NDArray, real: NDArray, beside: MaybeArray = None
    ) -> tuple[NDArray, NDArray, NDArray]:
        """What the discriminator has to learn: answer 0 for ``fake`` and 1 for ``real``, (N, D).

        Returns the loss, and the mean cross-entropy and the accuracy over both.
        """
        n = len(fake)
        targets = nd.concat(nd.zeros((n, 1), fake.context), nd.ones((n, 1), fake.context), dim=0)
        beside = None if beside is None else nd.concat(beside, beside, dim=0)
        logits = self._answer(nd.concat(fake, real, dim=0), beside)
        entropy, accuracy = self.loss(logits, targets)
        # The original adds the gradients of two passes, each a mean over its N codes; this is
        # the mean over 2 N.
        return 2 * entropy, entropy, accuracy

    def fool(self, fake: NDArray, beside: MaybeArray = None) -> Pair:
        """What the encoder has to learn: make it answer 1 for ``fake``.

        Returns the discriminator's cross-entropy, which is the loss, and the share that fools it.
        """
        return self.loss(self._answer(fake, beside), nd.ones((len(fake), 1), fake.context))

    def _answer(self, codes, beside):
        return self.discriminator(codes, *(() if beside is None else (beside,)))
