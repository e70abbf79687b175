"""How well the estimators do on scikit-learn's small data sets, with three seeds.

    python benchmarks/tables.py  # --seeds N, --json FILE.json

Each set is split into three quarters to train on and one to measure, by the seed, as many of each
class. All settings are the defaults. Prints a table; takes some minutes on two cores.
"""

import json
import statistics
import time

import click
import numpy as np
from sklearn.datasets import load_digits, load_wine, make_swiss_roll
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import train_test_split

from aae_mx import AAEClassifier, AAEClusterer, AdversarialAutoencoder

SETS = {"wine": load_wine, "digits": load_digits}
# Labels of each class where there are few.
FEW = 10


def measured(seed):
    """Rows of the table for a seed: {(data, what): number}, and seconds by the same."""
    found, seconds = {}, {}

    def note(data, what, number, start):
        found[data, what], seconds[data, what] = number, time.monotonic() - start

    for name, read in SETS.items():
        X, y = read(return_X_y=True)
        X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=seed)
        classes = len(set(y))
        start = time.monotonic()
        model = AAEClassifier(random_state=seed).fit(X, y)
        note(name, "AAEClassifier, all labels: accuracy", model.score(X_test, y_test), start)
        few = np.full_like(y, -1)
        for label in range(classes):
            few[np.flatnonzero(y == label)[:FEW]] = label
        start = time.monotonic()
        model = AAEClassifier(random_state=seed).fit(X, few)
        what = f"AAEClassifier, {FEW} labels of each class: accuracy"
        note(name, what, model.score(X_test, y_test), start)
        start = time.monotonic()
        model = AAEClusterer(clusters=classes, random_state=seed).fit(X)
        score = adjusted_rand_score(y_test, model.predict(X_test))
        note(name, f"AAEClusterer, {classes} clusters: adjusted Rand index", score, start)
        start = time.monotonic()
        model = AdversarialAutoencoder(random_state=seed).fit(X)
        what = "AdversarialAutoencoder, 2-D code: share of variance kept"
        note(name, what, 1 + model.score(X_test), start)
    X, _ = make_swiss_roll(2000, random_state=seed)
    start = time.monotonic()
    model = AdversarialAutoencoder(random_state=seed).fit(X[:1500])
    what = "AdversarialAutoencoder, 2-D code: share of variance kept"
    note("swiss roll", what, 1 + model.score(X[1500:]), start)
    return found, seconds


@click.command(help=__doc__)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--json", "out", help="Write the numbers there, too.")
def main(seeds, out):
    runs = [measured(seed) for seed in range(seeds)]
    print("| data | estimator, number | mean ± sd | each seed | seconds |")
    print("|---|---|---|---|---|")
    for key in runs[0][0]:
        values = [found[key] for found, _ in runs]
        spread = f" ± {statistics.stdev(values):.3f}" if seeds > 1 else ""
        each = ", ".join(f"{value:.3f}" for value in values)
        took = statistics.mean(seconds[key] for _, seconds in runs)
        mean = f"{statistics.mean(values):.3f}{spread}"
        print(f"| {key[0]} | {key[1]} | {mean} | {each} | {took:.0f} |", flush=True)
    if out:
        found = [{" | ".join(key): value for key, value in numbers.items()} for numbers, _ in runs]
        with open(out, "w") as file:
            json.dump(found, file, indent=2)


if __name__ == "__main__":
    main()
