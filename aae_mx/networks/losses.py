"""The losses, as Gluon HybridBlocks: each becomes one operation of MXNet, with its metric.

They work on logits, so that they stay finite, and give means over the batch, of shape (1,).
"""

from __future__ import annotations

from typing import Any

from aae_mx.backend import mx
from aae_mx.hints import Config, NDArray, Operators, Pair

HybridBlock: Any = mx.gluon.HybridBlock


class ReconstructionLoss(HybridBlock):
    """Logits of the decoder (N, pixels) and images (N, pixels) in 0–1 to (loss, L2).

    ``kind`` is ``squared_error``, ½ (x̂ − x)² as in the original, or ``cross_entropy``. The loss
    is the sum over the pixels of an image times ``scale``. L2 is the mean norm of x̂ − x, which
    is only measured: no gradient goes through it. Without ``bounded``, images are any numbers, and
    the logits x̂ itself.
    """

    def __init__(self, kind: str, scale: float = 1.0, bounded: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind, self.scale, self.bounded = kind, scale, bounded
        self.hybridize(static_alloc=True)

    @classmethod
    def of(cls, config: Config, n_pixels: int) -> ReconstructionLoss:
        """That of a config, for images of so many pixels."""
        scale = 1 / n_pixels if config.reduction == "mean" else 1
        return cls(config.reconstruction, scale, config.scale != "standard")

    def hybrid_forward(self, F: Operators, logits: NDArray, images: NDArray) -> Pair:
        values = F.Activation(logits, act_type="sigmoid") if self.bounded else logits
        errors = values - images
        squares = _row_sums(F, F.square(errors))
        if self.kind == "squared_error":
            losses = 0.5 * squares
        else:
            losses = _row_sums(F, _cross_entropy(F, logits, images))
        return self.scale * F.mean(losses), F.mean(F.sqrt(F.BlockGrad(squares)))


class AdversarialLoss(HybridBlock):
    """Logits of the discriminator (N, 1) and targets (N, 1) to (cross-entropy, accuracy).

    Target 1 means "from the prior", 0 "from the encoder". It is the loss of discriminator and
    generator (Makhzani et al., section 2).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hybridize(static_alloc=True)

    def hybrid_forward(self, F: Operators, logits: NDArray, targets: NDArray) -> Pair:
        right = F.broadcast_equal(F.BlockGrad(logits) > 0, targets)
        return F.mean(_cross_entropy(F, logits, targets)), F.mean(right)


class LabelLoss(HybridBlock):
    """Logits of the classifier (N, labels) and one-hot labels (N, labels) to the cross-entropy.

    Rows without a label are zeros and add nothing to the mean.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hybridize(static_alloc=True)

    def hybrid_forward(self, F: Operators, logits: NDArray, labels: NDArray) -> NDArray:
        return -F.mean(_row_sums(F, F.log_softmax(logits) * labels))


class ConsistencyLoss(HybridBlock):
    """Logits of y (N, kinds) and y of the same images, changed otherwise, to a cross-entropy.

    No gradient goes through the second. Source: Sajjadi et al., Regularization With Stochastic
    Transformations and Perturbations (2016).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hybridize(static_alloc=True)

    def hybrid_forward(self, F: Operators, logits: NDArray, before: NDArray) -> NDArray:
        return -F.mean(_row_sums(F, F.log_softmax(logits) * F.BlockGrad(before)))


class InformationLoss(HybridBlock):
    """Logits of y (N, kinds) to H(y given x) − ``balance`` · H(y), in nats.

    It is small where each image is of one kind and all kinds are as frequent: with a balance of 1
    it is minus the mutual information of y and x. H(y) is that of the batch. Source: Hu et al.,
    Learning Discrete Representations via Information Maximizing Self-Augmented Training (2017).
    """

    def __init__(self, balance: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.balance = balance
        self.hybridize(static_alloc=True)

    def hybrid_forward(self, F: Operators, logits: NDArray) -> NDArray:
        y = F.softmax(logits)
        of_each = -F.mean(_row_sums(F, F.log_softmax(logits) * y))
        shares = F.mean(y, axis=0)
        of_all = -F.sum(shares * F.log(shares + 1e-8))
        return of_each - self.balance * of_all


class HeadCost(HybridBlock):
    """Heads (m, n) to the sum over their pairs of how much nearer than ``distance`` they are.

    Source: the paper, section 7, as its readers report it; the distance is not known.
    """

    def __init__(self, m: int, distance: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.m, self.distance = m, distance
        self.hybridize(static_alloc=True)

    def hybrid_forward(self, F: Operators, heads: NDArray) -> NDArray:
        differences = F.broadcast_sub(F.expand_dims(heads, axis=0), F.expand_dims(heads, axis=1))
        # Never the root of 0, which has no gradient.
        distances = F.sqrt(F.sum(F.square(differences), axis=2) + 1e-6)
        # Each pair is there twice, and each head once with itself, at a distance of nearly 0.
        pairs = F.relu(self.distance - distances) * (1 - F.eye(self.m))
        return F.reshape(F.sum(pairs) / 2, (1,))


def _cross_entropy(F, logits, targets):
    """−t log σ(l) − (1 − t) log(1 − σ(l)), elementwise."""
    return F.Activation(logits, act_type="softrelu") - logits * targets


def _row_sums(F, rows):
    # A product with ones: on the CPU MXNet's own sum takes several times as long.
    ones = F.ones_like(F.slice_axis(rows, axis=0, begin=0, end=1))
    return F.dot(rows, ones, transpose_b=True)
