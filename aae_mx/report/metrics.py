"""Numbers that say how good an adversarial autoencoder is; NumPy and scikit-learn only.

Every function is deterministic, or takes a NumPy Generator. Arrays of codes have the shape
(N, code_dim), images (N, pixels) in 0–1.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from aae_mx.hints import Generator

# See two_sample_accuracy.
CONTRARY = 0.25


def sliced_wasserstein(
    codes: np.ndarray, prior_codes: np.ndarray, rng: Generator, n_projections: int = 200
) -> float:
    """Mean Wasserstein-1 distance of N codes and N prior samples along random directions; ≥ 0.

    In units of the code. Two samples of one distribution are not quite 0 apart: set prior
    against prior for the floor. Source: Bonneel et al., Sliced and Radon Wasserstein
    Barycenters of Measures (2015). Raises ValueError if the two are not equally many.
    """
    if len(codes) != len(prior_codes):
        raise ValueError(f"{len(codes)} codes and {len(prior_codes)} prior samples")
    directions = rng.standard_normal((n_projections, codes.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # Sorted, the n-th of one belongs to the n-th of the other.
    projected = [np.sort(points @ directions.T, axis=0) for points in (codes, prior_codes)]
    return float(np.abs(projected[0] - projected[1]).mean())


def two_sample_accuracy(codes: np.ndarray, prior_codes: np.ndarray) -> Optional[float]:
    """How well the nearest neighbour tells codes from prior samples, in 0–1.

    Leave-one-out accuracy of a 1-nearest-neighbour classifier on both together: 0.5 if they
    cannot be told apart, 1 if they never mix. Source: Lopez-Paz & Oquab, Revisiting Classifier
    Two-Sample Tests (2017). Raises ValueError if the two are not equally many.

    None where it would be near 0.5 for another reason: in many dimensions, codes that all lie in
    the middle of the prior are the nearest of everything. The classifier is then right about
    (nearly) every code and wrong about every prior sample, or the reverse if the prior is the
    narrow one. Of the two shares, which a match makes alike, one is then at least 1 − CONTRARY
    and the other at most CONTRARY.
    """
    if len(codes) != len(prior_codes):
        raise ValueError(f"{len(codes)} codes and {len(prior_codes)} prior samples")
    both = np.concatenate([codes, prior_codes])
    source = np.repeat([0, 1], len(codes))
    right = source[_neighbours(both, 1)[:, 0]] == source
    shares = right.reshape(2, -1).mean(axis=1)
    if shares.min() <= CONTRARY and shares.max() >= 1 - CONTRARY:
        return None
    return float(right.mean())


def label_agreement(
    codes: np.ndarray, labels: np.ndarray, prior_codes: np.ndarray, prior_labels: np.ndarray
) -> float:
    """Share of codes whose nearest prior sample stands for the image's own label, in 0–1.

    ``labels`` of the images, ``prior_labels`` of the prior's pieces. As in the baseline,
    20,000 prior samples are meant; pieces that overlap keep a perfect q(z) below 1.
    """
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=1).fit(prior_codes)
    nearest = index.kneighbors(codes, return_distance=False)[:, 0]
    return float((prior_labels[nearest] == labels).mean())


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, n_bins: int = 15) -> float:
    """Expected calibration error of probabilities (N, classes), in 0–1; 0 is perfect.

    The images are put into ``n_bins`` bins by their largest probability; the mean, over images, of
    how far the share told right in a bin is from the mean of these probabilities there. Source:
    Guo et al., On Calibration of Modern Neural Networks (2017).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, right, n_bins) - np.bincount(bins, confidence, n_bins)
    return float(np.abs(gaps).sum() / len(labels))


def imbalance(probabilities: np.ndarray) -> float:
    """How far the mean of probabilities (N, classes) is from even, in 0–1: total variation."""
    mean = probabilities.mean(axis=0)
    return float(np.abs(mean - 1 / len(mean)).sum() / 2)


def labels_by_example(kinds: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The label of each cluster by one image: that with the largest probability of it.

    ``kinds``: probabilities of the clusters (N, clusters) of images with known ``labels``. Source:
    the paper, section 6, which so needs as many labels as clusters.
    """
    return labels[kinds.argmax(axis=0)]


def labels_by_majority(kinds: np.ndarray, labels: np.ndarray, n_labels: int) -> np.ndarray:
    """The label of each cluster by the most of its images; of one without any, by example."""
    named = labels_by_example(kinds, labels)
    counts = _counts(kinds.argmax(axis=1), labels, kinds.shape[1], n_labels)
    there = counts.sum(axis=1) > 0
    named[there] = counts[there].argmax(axis=1)
    return named


def matched_error(answers: np.ndarray, labels: np.ndarray, n: int) -> float:
    """The share of images told wrong where n clusters stand for n labels in the best way, in 0–1.

    The best one-to-one assignment, as usual in clustering: it sees the labels that it is measured
    on. Source: Kuhn, The Hungarian Method for the Assignment Problem (1955).
    """
    from scipy.optimize import linear_sum_assignment

    counts = _counts(answers, labels, n, n)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return 1 - float(counts[rows, columns].sum() / len(labels))


def _counts(answers, labels, n_answers, n_labels):
    counts = np.zeros((n_answers, n_labels), int)
    np.add.at(counts, (answers, labels), 1)
    return counts


def neighbour_accuracy(codes: np.ndarray, labels: np.ndarray, k: int = 10) -> float:
    """Share of codes whose k nearest other codes vote for the image's label, in 0–1.

    Leave-one-out k-nearest-neighbour classification (Cover & Hart 1967); a tie goes to the
    smallest label. It needs no labels in training: it says how the code clusters.
    """
    k = min(k, len(codes) - 1)
    votes = labels[_neighbours(codes, k)]
    counts = np.stack([(votes == label).sum(axis=1) for label in range(labels.max() + 1)], axis=1)
    return float((counts.argmax(axis=1) == labels).mean())


def _neighbours(points, k):
    """The k nearest other points of each, by index: (N, k)."""
    from sklearn.neighbors import NearestNeighbors

    # Asked without points, it leaves each out of its own neighbours, also among duplicates.
    return NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)


def psnr(norms: np.ndarray, n_pixels: int) -> float:
    """Mean over images of the peak signal-to-noise ratio, in dB, from the L2 norms of
    its errors.

    10 log10 of 1 over the mean squared error of an image's pixels in 0–1, over its ``n_pixels``
    (those of each colour); an image without error counts as one with 1e-10, or 100 dB.
    """
    errors = np.maximum(norms.astype(np.float64) ** 2 / n_pixels, 1e-10)
    return float((-10 * np.log10(errors)).mean())


def linear_accuracy(
    codes: np.ndarray, labels: np.ndarray, other_codes: np.ndarray, other_labels: np.ndarray
) -> Optional[float]:
    """How often a linear classifier that learnt from codes is right about others, in 0–1.

    A logistic regression on codes of mean 0 and standard deviation 1. Near the share of the most
    frequent label, codes say nothing of the label that a line could tell.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    if len(np.unique(labels)) < 2:
        return None
    return float(classifier.fit(codes, labels).score(other_codes, other_labels))


class Judge:
    """A small classifier of the training images, to judge decoded prior samples by.

    Distances between pixels prefer blur; the features of a network that has learned to tell
    the classes apart see what makes an image one of them. The network is a perceptron of one
    hidden layer of 64, trained for ten epochs on at most 20,000 images (a few seconds), and for
    as many steps on fewer.
    """

    MAX_IMAGES, EPOCHS = 20_000, 10

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        epochs = self.EPOCHS * self.MAX_IMAGES // min(len(images), self.MAX_IMAGES)
        self.network = MLPClassifier((64,), max_iter=min(epochs, 200), random_state=0)
        with warnings.catch_warnings():
            # So many epochs are what is wanted, not convergence.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.network.fit(images[: self.MAX_IMAGES], labels[: self.MAX_IMAGES])

    def features(self, images: np.ndarray) -> np.ndarray:
        """The hidden layer's activations: (N, 64)."""
        return np.maximum(images @ self.network.coefs_[0] + self.network.intercepts_[0], 0)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """What the images are taken for, (N,)."""
        return self.network.predict(images)

    def class_entropy(self, images: np.ndarray) -> float:
        """Entropy, in bits, of the classes that the images are taken for.

        log2 of the number of classes if all are equally frequent, 0 if there is but one: it
        tells whether the samples show every class. Source: the marginal entropy of the
        Inception score (Salimans et al. 2016).
        """
        shares = np.bincount(self.predict(images)) / len(images)
        shares = shares[shares > 0]
        # Not -0.0 where there is but one.
        return max(0.0, float(-(shares * np.log2(shares)).sum()))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of two Gaussians fitted to features (N, D) and (M, D); ≥ 0.

    |μa − μb|² + tr(Ca + Cb − 2 (Ca Cb)^½). Source: Heusel et al., GANs Trained by a Two
    Time-Scale Update Rule (2017), there with Inception's features.
    """
    means = [x.mean(axis=0) for x in (a, b)]
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    # The product of two covariances has eigenvalues ≥ 0, but for rounding.
    product = np.linalg.eigvals(covariances[0] @ covariances[1])
    root = np.sqrt(np.maximum(product.real, 0)).sum()
    trace = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * root
    return max(0.0, float(((means[0] - means[1]) ** 2).sum() + trace))
