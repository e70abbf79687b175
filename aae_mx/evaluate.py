"""``python -m aae_mx.evaluate``: how good runs are, in numbers."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from aae_mx import metrics
from aae_mx.cli import command, option_overwrite, option_place, option_seed, writable_file
from aae_mx.errors import InputError
from aae_mx.text import printable, say

# Prior samples of which a code's nearest is looked for, as in the baseline.
N_PRIOR = 20_000
# Images of twice this side and more are made smaller for the judge.
JUDGE_SIDE = 32
# Streams of random numbers, each seeded by (seed, stream).
MATCH, LABELS, SAMPLES, FLOOR = range(4)

# {metric: (its line in the table, format)}, in the table's order.
METRICS = {
    "two_sample_accuracy": ("q(z) and p(z): two-sample accuracy", "{:.3f}"),
    "sliced_wasserstein": ("q(z) and p(z): sliced Wasserstein", "{:.3f}"),
    "label_agreement": ("codes in their label's piece", "{:.3f}"),
    "neighbour_accuracy": ("codes: 10-NN label accuracy", "{:.3f}"),
    "reconstruction_l2": ("reconstruction: mean L2 error", "{:.2f}"),
    "reconstruction_psnr": ("reconstruction: mean PSNR, dB", "{:.2f}"),
    "frechet_distance": ("samples: Fréchet distance", "{:.2f}"),
    "class_entropy": ("samples: class entropy, bits", "{:.2f}"),
}
# Shares of images; and what goes by neighbours or by spread, of which fewer than FEW images say
# nothing.
SHARES = ("two_sample_accuracy", "label_agreement", "neighbour_accuracy")
OF_MANY = ("two_sample_accuracy", "neighbour_accuracy", "frechet_distance")
FEW = 20


class NumberOrFolder(click.ParamType):
    """A whole number of images, at least 2, or the name of a folder that is none."""

    name = "images"

    def convert(self, value, param, ctx):
        number = value.lstrip("-").isdigit()
        return click.IntRange(min=2).convert(value, param, ctx) if number else value


@command(
    name="evaluate",
    epilog="Example: python -m aae_mx.evaluate runs/swiss_roll_supervised --json results.json",
)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN...")
@click.option("--compare", is_flag=True, help="Show several runs side by side.")
@click.option("--json", "out", metavar="FILE.json", help="Write the numbers there; - prints them.")
@option_place(
    type=NumberOrFolder(),
    multiple=True,
    metavar="N|DIR",
    help="Only the first so many held-out images [default: all]; or where the run's pictures are "
    "now, if they have been moved. Can be given twice, for both.",
)
@option_seed("Decides prior samples and projections.")
@option_overwrite()
def main(runs, compare, out, images, data_dir, seed, overwrite):
    """Measure runs on held-out images: match of q(z) to p(z), labels, reconstruction, samples.

    The column "ideal" has what a perfect model would reach: the prior against itself, and for
    samples real images instead; with --compare, each run has its own unless they are equal.
    Definitions and sources: aae_mx/metrics.py.
    """
    if out not in (None, "-"):
        out = writable_file(out, [".json"], overwrite, "json")

    from aae_mx.files import write_aside
    from aae_mx.run import load, load_data

    n = next((given for given in reversed(images) if isinstance(given, int)), None)
    folder = next((given for given in reversed(images) if isinstance(given, str)), None)
    results = []

    def text():
        return json.dumps({"runs": results}, indent=2) + "\n"

    # All of them first: to measure one takes long, and the last may be no run.
    for run, model in [(run, load(run)) for run in runs]:
        result = {
            "run": str(run),
            "config": model.config.to_dict(),
            "epoch": model.epoch,
            "seed": seed,
            **evaluate(model, n, seed, load_data(model, folder, data_dir)),
        }
        results.append(result)
        # Before anything is shown: what was measured stays, whatever happens to the rest.
        if out not in (None, "-"):
            write_aside(out, lambda file: file.write(text().encode()))
        if out != "-" and not compare:
            say(table([result]))
    if out == "-":
        say(text().rstrip())
    elif compare:
        say(table(results))


def evaluate(model, n=None, seed=0, dataset=None, judge=None):
    """The METRICS of a trained model on the first ``n`` held-out images; by default on all.

    Returns {"images": n, "metrics": {name: float or None}, "ideal": the same of a perfect
    model}. None: the label agreement without labels; what needs classes, of images that have
    none; the reconstruction's ideal, which two dimensions do not have; and what is not finite or,
    by its definition in ``metrics``, means nothing. ``dataset`` is the one
    that the run was trained on, ``judge`` a ``metrics.Judge`` of its training images, both made
    anew by default. Raises InputError for fewer than two held-out images.
    """
    from aae_mx.run import load_data

    dataset = dataset or load_data(model)
    images, labels = dataset.test_images[:n], dataset.test_labels[:n]
    n = len(images)
    if n < 2:
        raise InputError(
            f"{n} held-out image{'s' * (n != 1)}: at least two are needed to measure anything"
        )
    codes = model.encode(images)
    norms = model.error_norms(images)
    prior, _ = model.sample_prior(n, seed=[seed, MATCH])
    other_prior, _ = model.sample_prior(n, seed=[seed, FLOOR])

    def distance(points):
        return metrics.sliced_wasserstein(points, prior, np.random.default_rng([seed, MATCH]))

    measured, ideal = dict.fromkeys(METRICS), dict.fromkeys(METRICS)
    measured["two_sample_accuracy"] = metrics.two_sample_accuracy(codes, prior)
    measured["sliced_wasserstein"] = distance(codes)
    measured["reconstruction_l2"] = float(norms.mean())
    measured["reconstruction_psnr"] = metrics.psnr(norms, model.n_pixels)
    ideal["two_sample_accuracy"] = 0.5
    ideal["sliced_wasserstein"] = distance(other_prior)
    if model.classes:
        judge = judge or make_judge(dataset)
        held_out, training = (judged(x) for x in (images, dataset.train_images[:n]))
        sampled = sampled_for_judge(model, n, seed)
        real = judge.features(held_out)
        measured["neighbour_accuracy"] = metrics.neighbour_accuracy(codes, labels)
        measured["frechet_distance"] = metrics.frechet_distance(judge.features(sampled), real)
        measured["class_entropy"] = judge.class_entropy(sampled)
        ideal["neighbour_accuracy"] = 1.0
        ideal["frechet_distance"] = metrics.frechet_distance(judge.features(training), real)
        ideal["class_entropy"] = judge.class_entropy(held_out)
    if model.config.formulation != "unsupervised":
        points, pieces = model.sample_prior(N_PRIOR, seed=[seed, LABELS])
        again, names = model.sample_prior(n, seed=[seed, FLOOR])
        measured["label_agreement"] = metrics.label_agreement(codes, labels, points, pieces)
        ideal["label_agreement"] = metrics.label_agreement(again, names, points, pieces)
    for numbers in (measured, ideal):
        for name, value in numbers.items():
            # JSON has no others.
            numbers[name] = value if value is not None and np.isfinite(value) else None
    return {"images": n, "metrics": measured, "ideal": ideal}


def make_judge(dataset):
    """The ``metrics.Judge`` of a dataset's training images."""
    part = slice(metrics.Judge.MAX_IMAGES)
    return metrics.Judge(judged(dataset.train_images[part]), dataset.train_labels[part])


def judged(images):
    """Images as the judge sees them: rows of floats in 0–1, large ones averaged to 32 a side.

    ``images``: uint8 or floats in 0–1, (N, height, width) or (N, height, width, 3).
    """
    from aae_mx.data import parts, release_pages, to_unit

    factor = max(1, min(images.shape[1:3]) // JUDGE_SIDE)
    height, width = (size // factor for size in images.shape[1:3])
    rows = []
    for part in parts(images, 1000):
        part = part[:, : height * factor, : width * factor]
        part = to_unit(part) if part.dtype == np.uint8 else part
        blocks = part.reshape(len(part), height, factor, width, factor, -1)
        rows.append((blocks if factor == 1 else blocks.mean(axis=(2, 4))).reshape(len(part), -1))
        release_pages(images)
    return np.concatenate(rows)


def sampled_for_judge(model, n, seed):
    """``n`` decoded prior samples, as ``judged`` gives them."""
    from aae_mx.data import parts

    codes, _ = model.sample_prior(n, seed=[seed, SAMPLES])
    return np.concatenate([judged(model.decode(part)) for part in parts(codes, 1000)])


def table(results):
    """Results of ``evaluate`` side by side, each with what is ideal for it, as text.

    One column has the ideal of all runs where it is the same. Of few images, shares have no more
    digits than they can tell, and what takes many is left out.
    """
    columns = []
    for result in results:
        measured, ideal = (_texts(result[kind], result["images"]) for kind in ("metrics", "ideal"))
        columns += [[printable(Path(result["run"]).name), *measured], ["ideal", *ideal]]
    ideals = columns[1::2]
    if all(ideal == ideals[0] for ideal in ideals):
        columns = [*columns[::2], ideals[0]]
    lines = list(zip(["", *(label for label, _ in METRICS.values())], *columns))
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    ]
    counts = ", ".join(
        f"{printable(Path(result['run']).name)}: epoch {result['epoch']}, "
        f"{result['images']:,} held-out images"
        for result in results
    )
    notes = [counts]
    if any(result["images"] < FEW for result in results):
        notes.append(f"–: fewer than {FEW} images say nothing of neighbours and spread.")
    if any(
        result["metrics"]["two_sample_accuracy"] is None and result["images"] >= FEW
        for result in results
    ):
        notes.append(
            "No two-sample accuracy: of q(z) and p(z) one lies in the middle of the other, and the "
            "nearest points of both are its own; see aae_mx/metrics.py."
        )
    return "\n".join([*text, *notes])


def _texts(numbers, n):
    """The METRICS among ``numbers``, measured on ``n`` images, as the table shows them."""
    texts = []
    for name, (_, form) in METRICS.items():
        if name in SHARES:
            # One image more or less in 100 is 0.01.
            form = f"{{:.{min(3, len(str(n - 1)))}f}}"
        texts.append(show(None if n < FEW and name in OF_MANY else numbers[name], form))
    return texts


def show(value, form, none="–"):
    """A number of the table, or ``none`` where there is none."""
    if value is None or not np.isfinite(value):
        return none
    text = form.format(value)
    return text if float(text) else text.lstrip("-")


if __name__ == "__main__":
    main()
