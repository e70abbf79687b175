"""From X and y in memory to codes, a pipeline, a prior of one's own and a figure.

    python examples/arrays.py  # --help lists its options

Takes a minute or two. The data are scikit-learn's: 178 wines, of each 13 measurements and which of
three growers it is from. Writes wine_codes.png.
"""

from dataclasses import dataclass

import click
import numpy as np
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline

import aae_mx
from aae_mx.commands.options import command
from aae_mx.report import plotting


@dataclass
class Triangle(aae_mx.priors.Prior):
    """A Gaussian at each corner of a triangle, or of a polygon with a corner for each label."""

    name = "triangle"
    radius: float = aae_mx.priors.setting(3.0, "From the middle to a corner.", above=0)

    def draw(self, n, rng, code_dim, labels, n_labels):
        angle = 2 * np.pi * labels / n_labels
        corners = self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return corners + rng.standard_normal((n, 2))


def main(out="wine_codes.png", epochs=None):
    wine = load_wine()
    X, X_test, y, y_test = train_test_split(
        wine.data, wine.target, stratify=wine.target, random_state=0
    )

    # Codes in a pipeline. y goes to both, but without labels=... the codes are found without it.
    codes = aae_mx.AdversarialAutoencoder(code_dim=4, epochs=epochs)
    pipeline = make_pipeline(codes, LogisticRegression())
    score = cross_val_score(pipeline, X, y, cv=3).mean()
    print(f"a line in the codes tells {score:.1%} of the wines, of which it knew two thirds")

    # Of 15 wines it is known whose they are; -1 stands for "not known".
    some = np.where(np.arange(len(y)) < 15, y, -1)
    classifier = aae_mx.AAEClassifier(epochs=epochs).fit(X, some)
    print(f"with 15 labels, {classifier.score(X_test, y_test):.1%} of the others are told")

    # A prior of one's own, each label in its corner, and a figure of the codes.
    model = aae_mx.AdversarialAutoencoder(prior=Triangle(radius=4.0), labels="all", epochs=epochs)
    model.fit(X, y)
    ax = plotting.scatter_codes(model.transform(X_test), y_test, wine.target_names)
    ax.figure.savefig(out)

    # A new wine of the first grower, in the units of the data.
    new = model.sample(1, labels=0)[0]
    print(", ".join(f"{n} {v:.3g}" for n, v in zip(wine.feature_names, new)))
    return model


@command(help=__doc__)
@click.option("--epochs", type=int, help="Passes over the wines. [default: 100]")
@click.option("--out", default="wine_codes.png", show_default=True, help="The figure.")
def program(**options):
    main(**options)


if __name__ == "__main__":
    program()
