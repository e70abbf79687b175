"""The numbers of a trained model, on held-out images."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np

from aae_mx.data.scale import AS_PIXELS, Scale
from aae_mx.errors import InputError
from aae_mx.hints import AAE, Dataset, Mode
from aae_mx.report import metrics
from aae_mx.text import printable

# Prior samples of which a code's nearest is looked for, as in the baseline.
N_PRIOR = 20_000
# Of the training images, so many of the last name the clusters, unless some were kept out.
N_NAMING = 10_000
# Training images whose codes a linear classifier learns from.
N_LINEAR = 10_000
# Images of twice this side and more are made smaller for the judge.
JUDGE_SIDE = 32
# Streams of random numbers, each seeded by (seed, stream).
MATCH, LABELS, SAMPLES, FLOOR = range(4)

# {metric: (its line in the table, format)}, in the table's order.
METRICS = {
    "test_error": ("classification: told wrong", "{:.2%}"),
    "cluster_error": ("clusters named by one image each: told wrong", "{:.2%}"),
    "majority_error": ("clusters named by most of theirs: told wrong", "{:.2%}"),
    "matched_error": ("as many clusters as labels, best named: told wrong", "{:.2%}"),
    "calibration_error": ("calibration error of the probabilities", "{:.3f}"),
    "kind_imbalance": ("q(y) and its prior: total variation", "{:.3f}"),
    "kind_confidence": ("q(y): mean of the largest probability", "{:.3f}"),
    "two_sample_accuracy": ("q(z) and p(z): two-sample accuracy", "{:.3f}"),
    "sliced_wasserstein": ("q(z) and p(z): sliced Wasserstein", "{:.3f}"),
    "label_agreement": ("codes in their label's piece", "{:.3f}"),
    "neighbour_accuracy": ("codes: 10-NN label accuracy", "{:.3f}"),
    "linear_accuracy": ("codes: label accuracy of a linear classifier", "{:.3f}"),
    "reconstruction_l2": ("reconstruction: mean L2 error", "{:.2f}"),
    "reconstruction_psnr": ("reconstruction: mean PSNR, dB", "{:.2f}"),
    "frechet_distance": ("samples: Fréchet distance", "{:.2f}"),
    "class_entropy": ("samples: class entropy, bits", "{:.2f}"),
    "sample_accuracy": ("samples of the label that was asked for", "{:.3f}"),
}
# Shares of images; and what goes by neighbours or by spread, of which fewer than FEW images say
# nothing.
SHARES = ("two_sample_accuracy", "label_agreement", "neighbour_accuracy", "linear_accuracy")
OF_MANY = ("two_sample_accuracy", "neighbour_accuracy", "frechet_distance")
FEW = 20


def evaluate(
    model: AAE,
    n: Optional[int] = None,
    seed: int = 0,
    dataset: Optional[Dataset] = None,
    judge: Optional[metrics.Judge] = None,
    split: str = "test",
) -> dict[str, Any]:
    """The metrics of a trained model on the first ``n`` held-out images; by default on all.

    With the ``split`` "validation" on those that were kept out of its training instead.
    Which they are, its mode says (``Mode.measures``). Returns {"images": n, "metrics": {name: float
    or None}, "ideal": the same of a perfect model}; for a mode that classifies also
    "class_errors", {class: share told wrong}. None: the label agreement without labels; what needs
    classes, of images that have none; the reconstruction's ideal, which two dimensions do not have;
    and what is not finite or, by its definition in ``metrics``, means nothing. ``dataset`` is the
    one that the run was trained on, ``judge`` a ``metrics.Judge`` of its training images, both made
    anew by default. Raises InputError for fewer than two images, and where none were held, or kept,
    out.
    """
    from aae_mx.model import load_data

    trial = Trial(model, n, seed, dataset or load_data(model), judge, split)
    if trial.n < 2:
        these = model.noun[: -1 if trial.n == 1 else None]
        raise InputError(
            f"{trial.n} {trial.what} {these}: at least two are needed to measure anything"
        )
    measured, ideal = (dict.fromkeys(metrics_of(model.mode)) for _ in range(2))
    for name in model.mode.measures:
        for numbers, values in zip((measured, ideal), MEASURES[name][0](trial)):
            numbers.update(values)
    for numbers in (measured, ideal):
        for name, value in numbers.items():
            # JSON has no others.
            numbers[name] = value if value is not None and np.isfinite(value) else None
    result = {
        "images": trial.n,
        "split": trial.what,
        "noun": model.noun,
        "metrics": measured,
        "ideal": ideal,
    }
    if "test_error" in measured:
        result["class_errors"] = trial.class_errors()
    return result


class Trial:
    """A trained model, the held-out images that it is measured on, and what it makes of them."""

    def __init__(
        self,
        model: AAE,
        n: Optional[int],
        seed: int,
        dataset: Dataset,
        judge: Optional[metrics.Judge],
        split: str,
    ) -> None:
        self.model, self.seed, self.dataset = model, seed, dataset
        self.what, images, labels = measured_on(model, dataset, split)
        self.images, self.labels = images[:n], labels[:n]
        self.n = len(self.images)
        self._judge = judge

    @functools.cached_property
    def codes(self) -> np.ndarray:
        return self.model.encode(self.images)

    @functools.cached_property
    def kinds(self) -> np.ndarray:
        return self.model.classify(self.images)

    @functools.cached_property
    def samples(self) -> tuple[np.ndarray, Optional[np.ndarray]]:
        """As many decoded prior samples as images, for the judge, and their labels or None."""
        return sampled_for_judge(self.model, self.n, self.seed)

    @functools.cached_property
    def judge(self) -> metrics.Judge:
        return self._judge or make_judge(self.dataset, self.model.scale)

    def prior(
        self, stream: int, n: Optional[int] = None
    ) -> tuple[np.ndarray, Optional[np.ndarray]]:
        """Prior samples of a stream and their labels, by default as many as images."""
        return self.model.sample_prior(n or self.n, seed=[self.seed, stream])

    def class_errors(self) -> dict[str, Optional[float]]:
        """The share of each class's images that is told wrong, {class: float or None}."""
        wrong = self.kinds.argmax(axis=1) != self.labels
        return {
            name: float(wrong[self.labels == label].mean())
            if (self.labels == label).any()
            else None
            for label, name in enumerate(self.model.classes)
        }


def measured_on(model: AAE, dataset: Dataset, split: str) -> tuple[str, np.ndarray, np.ndarray]:
    """What the images of a split, "test" or "validation", are called; they, and their labels.

    Raises InputError for a run that has none held out, or kept none of its training images out.
    """
    if split == "test":
        if not len(dataset.test_images):
            raise InputError(
                f"{model.run}: no {model.noun} are held out, so there are none to measure it on; "
                "train with X_test and y_test, or with --validation N and add --split validation"
            )
        return ("held-out", *dataset.split("test"))
    last = model.config.validation
    if not last:
        raise InputError(
            f"{model.run}: no {model.noun} were kept out of its training; train with --validation N"
        )
    return ("validation", *dataset.kept_out(last))


def _classification(trial):
    wrong = trial.kinds.argmax(axis=1) != trial.labels
    error = metrics.calibration_error(trial.kinds, trial.labels)
    perfect = dict.fromkeys(("test_error", "calibration_error"), 0.0)
    return {"test_error": float(wrong.mean()), "calibration_error": error}, perfect


def _clusters(trial):
    """Errors of clusters that validation images give names to (paper, section 6)."""
    model, dataset = trial.model, trial.dataset
    if not model.classes:
        return {}, {}
    last = slice(-(model.config.validation or N_NAMING), None)
    names = dataset.train_labels[last]
    naming, names = model.classify(dataset.train_images[last])[names >= 0], names[names >= 0]
    answers, n_labels = trial.kinds.argmax(axis=1), len(model.classes)

    def wrong(named):
        return float((named[answers] != trial.labels).mean())

    measured = {
        "cluster_error": wrong(metrics.labels_by_example(naming, names)),
        "majority_error": wrong(metrics.labels_by_majority(naming, names, n_labels)),
    }
    if trial.kinds.shape[1] == n_labels:
        measured["matched_error"] = metrics.matched_error(answers, trial.labels, n_labels)
    return measured, dict.fromkeys(measured, 0.0)


def _kinds(trial):
    n_kinds = trial.kinds.shape[1]
    of_labels = trial.model.mode.kinds == trial.model.classes
    true = np.eye(n_kinds)[trial.labels if of_labels else np.arange(trial.n) % n_kinds]

    def numbers(kinds):
        return {
            "kind_imbalance": metrics.imbalance(kinds),
            "kind_confidence": float(kinds.max(axis=1).mean()),
        }

    return numbers(trial.kinds), numbers(true)


def _match(trial):
    prior, _ = trial.prior(MATCH)
    other_prior, _ = trial.prior(FLOOR)

    def distance(points):
        rng = np.random.default_rng([trial.seed, MATCH])
        return metrics.sliced_wasserstein(points, prior, rng)

    measured = {
        "two_sample_accuracy": metrics.two_sample_accuracy(trial.codes, prior),
        "sliced_wasserstein": distance(trial.codes),
    }
    return measured, {"two_sample_accuracy": 0.5, "sliced_wasserstein": distance(other_prior)}


def _label_agreement(trial):
    if not trial.model.mode.labels_are_pieces:
        return {}, {}
    points, pieces = trial.prior(LABELS, N_PRIOR)
    again, names = trial.prior(FLOOR)
    measured = metrics.label_agreement(trial.codes, trial.labels, points, pieces)
    ideal = metrics.label_agreement(again, names, points, pieces)
    return {"label_agreement": measured}, {"label_agreement": ideal}


def _neighbours(trial):
    if not trial.model.classes:
        return {}, {}
    accuracy = metrics.neighbour_accuracy(trial.codes, trial.labels)
    # Where the label is told apart from the code, near chance is good, and no number is perfect.
    ideal = None if trial.model.mode.decodes_labels else 1.0
    return {"neighbour_accuracy": accuracy}, {"neighbour_accuracy": ideal}


def _reconstruction(trial):
    norms = trial.model.error_norms(trial.images, trial.labels)
    bounded = trial.model.scale.kind != "standard"
    psnr = metrics.psnr(norms, trial.model.n_pixels) if bounded else None
    return {"reconstruction_l2": float(norms.mean()), "reconstruction_psnr": psnr}, {}


def _samples(trial):
    if not trial.model.classes:
        return {}, {}
    judge = trial.judge
    scale = trial.model.scale
    held_out = judged(trial.images, scale)
    training = judged(trial.dataset.train_images[: trial.n], scale)
    sampled, _ = trial.samples
    real = judge.features(held_out)

    def numbers(images):
        return {
            "frechet_distance": metrics.frechet_distance(judge.features(images), real),
            "class_entropy": judge.class_entropy(images),
        }

    ideal = {**numbers(training), "class_entropy": judge.class_entropy(held_out)}
    return numbers(sampled), ideal


def _styles(trial):
    """How well styles and kinds are apart (section 4 has pictures only)."""
    dataset = trial.dataset
    some = slice(N_LINEAR)
    codes = trial.model.encode(dataset.train_images[some])
    accuracy = metrics.linear_accuracy(codes, dataset.train_labels[some], trial.codes, trial.labels)
    sampled, labels = trial.samples
    right = float((trial.judge.predict(sampled) == labels).mean())
    # Who knows nothing of the image names the most frequent label.
    chance = float(np.bincount(trial.labels).max() / trial.n)
    measured = {"linear_accuracy": accuracy, "sample_accuracy": right}
    return measured, {"linear_accuracy": chance, "sample_accuracy": 1.0}


# What Mode.measures can name: {name: (function of a Trial, the metrics that it has)}. It gives
# these of the model and of a perfect one.
MEASURES = {
    "classification": (_classification, ("test_error", "calibration_error")),
    "clusters": (_clusters, ("cluster_error", "majority_error", "matched_error")),
    "kinds": (_kinds, ("kind_imbalance", "kind_confidence")),
    "match": (_match, ("two_sample_accuracy", "sliced_wasserstein")),
    "label_agreement": (_label_agreement, ("label_agreement",)),
    "neighbours": (_neighbours, ("neighbour_accuracy",)),
    "reconstruction": (_reconstruction, ("reconstruction_l2", "reconstruction_psnr")),
    "samples": (_samples, ("frechet_distance", "class_entropy")),
    "styles": (_styles, ("linear_accuracy", "sample_accuracy")),
}


def metrics_of(mode: Mode) -> list[str]:
    """The names of the metrics that a Mode has, in the order of METRICS."""
    names = {name for measure in mode.measures for name in MEASURES[measure][1]}
    return [name for name in METRICS if name in names]


def make_judge(dataset: Dataset, scale: Scale = AS_PIXELS) -> metrics.Judge:
    """The ``metrics.Judge`` of a dataset's training images, those with a label."""
    part = slice(metrics.Judge.MAX_IMAGES)
    labels = dataset.train_labels[part]
    return metrics.Judge(
        judged(dataset.train_images[part], scale)[labels >= 0], labels[labels >= 0]
    )


def judged(images: np.ndarray, scale: Scale = AS_PIXELS) -> np.ndarray:
    """Images as the judge sees them: rows as the networks do, large ones averaged to 32 a side.

    ``images``: (N, height, width), (N, height, width, 3) or (N, features), of the Scale.
    """
    from aae_mx.data import parts, release_pages

    if images.ndim == 2:
        return scale.apply(images)
    factor = max(1, min(images.shape[1:3]) // JUDGE_SIDE)
    height, width = (size // factor for size in images.shape[1:3])
    rows = []
    for part in parts(images, 1000):
        part = scale.apply(part).reshape(part.shape)[:, : height * factor, : width * factor]
        blocks = part.reshape(len(part), height, factor, width, factor, -1)
        rows.append((blocks if factor == 1 else blocks.mean(axis=(2, 4))).reshape(len(part), -1))
        release_pages(images)
    return np.concatenate(rows)


def sampled_for_judge(model: AAE, n: int, seed: int) -> tuple[np.ndarray, Optional[np.ndarray]]:
    """``n`` decoded prior samples, as ``judged`` gives them, and their labels or None."""
    from aae_mx.data import parts

    codes, labels = model.sample_prior(n, seed=[seed, SAMPLES])
    images = (
        model.decode_samples(part, None if labels is None else labels[at : at + len(part)])
        for at, part in zip(range(0, n, 1000), parts(codes, 1000))
    )
    return np.concatenate([judged(part, model.scale) for part in images]), labels


def table(results: Sequence[dict[str, Any]]) -> str:
    """Results of ``evaluate`` side by side, each with what is ideal for it, as text.

    One column has the ideal of all runs where it is the same. Of few images, shares have no more
    digits than they can tell, and what takes many is left out.
    """
    lines = rows(results)
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    ]
    counts = ", ".join(
        f"{printable(Path(result['run']).name)}: epoch {result['epoch']}, "
        f"{result['images']:,} {result['split']} {result['noun']}"
        for result in results
    )
    notes = [counts]
    for result in results:
        found = result.get("likelihood")
        if found:
            notes.append(
                f"log-density: {found['log_density']:.1f} ± {found['standard_error']:.1f} nats "
                f"(standard error), of {found['samples']:,} samples with σ {found['sigma']:.3f}; "
                f"of {found['ceiling_samples']:,} training {result['noun']} instead "
                f"{found['ceiling']:.1f}"
            )
        errors = result.get("class_errors")
        if errors:
            told = ", ".join(f"{printable(c)} {show(e, '{:.1%}')}" for c, e in errors.items())
            notes.append(f"told wrong by class: {told}")
    return "\n".join([*text, *notes, *remarks(results)])


def rows(results: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The lines of the table, lists of texts: the first has the runs' names, then one a metric."""
    columns, shown = [], [n for n in METRICS if any(n in r["metrics"] for r in results)]
    for result in results:
        measured, ideal = (
            _texts(result[kind], shown, result["images"]) for kind in ("metrics", "ideal")
        )
        columns += [[printable(Path(result["run"]).name), *measured], ["ideal", *ideal]]
    ideals = columns[1::2]
    if all(ideal == ideals[0] for ideal in ideals):
        columns = [*columns[::2], ideals[0]]
    return [list(line) for line in zip(["", *(METRICS[name][0] for name in shown)], *columns)]


def remarks(results: Sequence[dict[str, Any]]) -> list[str]:
    """What has to be said of numbers that are not there, a list of texts."""
    notes = []
    if any(result["images"] < FEW for result in results):
        notes.append(f"–: fewer than {FEW} say nothing of neighbours and spread.")
    if any(
        result["metrics"].get("two_sample_accuracy", 0) is None and result["images"] >= FEW
        for result in results
    ):
        notes.append(
            "No two-sample accuracy: of q(z) and p(z) one lies in the middle of the other, and the "
            "nearest points of both are its own; see aae_mx/report/metrics.py."
        )
    return notes


def _texts(numbers, names, n):
    """The metrics ``names`` of ``numbers``, measured on ``n`` images, as the table shows them."""
    texts = []
    for name in names:
        form = METRICS[name][1]
        if name in SHARES:
            # One image more or less in 100 is 0.01.
            form = f"{{:.{min(3, len(str(n - 1)))}f}}"
        texts.append(show(None if n < FEW and name in OF_MANY else numbers.get(name), form))
    return texts


def show(value: Optional[float], form: str, none: str = "–") -> str:
    """A number of the table, or ``none`` where there is none."""
    if value is None or not np.isfinite(value):
        return none
    text = form.format(value)
    return text if float(text.rstrip("%")) else text.lstrip("-")
