"""A game: one latent code against one prior (Makhzani et al., section 2)."""

from __future__ import annotations

from typing import Any

from aae_mx.backend import mx
from aae_mx.hints import Block, MaybeArray, NDArray, Operators, Pair
from aae_mx.networks.losses import AdversarialLoss

HybridBlock: Any = mx.gluon.HybridBlock


class Game:
    """A discriminator learns to tell codes from prior samples, an encoder to deceive it.

    Both are called while MXNet records, with arrays, or with symbols in a Phase. ``beside``: what
    stands beside the codes for a discriminator with conditions, (N, n_conditions), or None.

    ``tell(fake, real, beside=None)``: what the discriminator has to learn, to answer 0 for ``fake``
    and 1 for ``real``, (N, D): the loss, and the mean cross-entropy and the accuracy over both.
    ``fool(fake, beside=None)``: what the encoder has to learn, to make it answer 1 for ``fake``:
    the discriminator's cross-entropy, which is the loss, and the share that fools it.
    """

    def __init__(self, discriminator: Block) -> None:
        self.tell, self.fool = _Tell(discriminator), _Fool(discriminator)


class _Turn(HybridBlock):
    def __init__(self, discriminator: Block) -> None:
        super().__init__()
        self.discriminator, self.loss = discriminator, AdversarialLoss()
        self.hybridize(static_alloc=True, static_shape=True)

    def answer(self, codes: NDArray, beside: MaybeArray) -> NDArray:
        return self.discriminator(codes, *(() if beside is None else (beside,)))


class _Tell(_Turn):
    def hybrid_forward(
        self, F: Operators, fake: NDArray, real: NDArray, beside: MaybeArray = None
    ) -> tuple[NDArray, NDArray, NDArray]:
        zero, one = F.zeros_like(_column(F, fake)), F.ones_like(_column(F, real))
        beside = None if beside is None else F.concat(beside, beside, dim=0)
        logits = self.answer(F.concat(fake, real, dim=0), beside)
        entropy, accuracy = self.loss(logits, F.concat(zero, one, dim=0))
        # The original adds the gradients of two passes, each a mean over its N codes; this is
        # the mean over 2 N.
        return 2 * entropy, entropy, accuracy


class _Fool(_Turn):
    def hybrid_forward(self, F: Operators, fake: NDArray, beside: MaybeArray = None) -> Pair:
        return self.loss(self.answer(fake, beside), F.ones_like(_column(F, fake)))


def _column(F, rows):
    """As many numbers as there are rows, (N, 1)."""
    return F.slice_axis(rows, axis=1, begin=0, end=1)
