"""With few labels: 1,000 of the 60,000 training images have one, the rest are "unknown".

    python examples/semi_supervised.py  # --help lists its options

Takes some minutes on two cores. Writes runs/example_semi_supervised and a picture in it, and
prints how many held-out digits lie in the petal of their label.
"""

import click
import numpy as np

import aae_mx
from aae_mx.commands.options import command
from aae_mx.data import load_dataset
from aae_mx.report import plotting


def main(out="runs/example_semi_supervised", labels=1000, **settings):
    config = aae_mx.Config(prior="gaussian_mixture", labels=labels, **settings)
    model = aae_mx.fit(config, out)

    dataset = load_dataset(config)
    codes = model.encode(dataset.test_images)
    ax = plotting.scatter_codes(codes, dataset.test_labels, model.classes)
    ax.figure.savefig(model.run / "codes.png")

    # Petal l points in the direction 2π l / 10.
    angles = np.arctan2(codes[:, 1], codes[:, 0])
    petals = np.rint(angles / (2 * np.pi / 10)).astype(int) % 10
    share = (petals == dataset.test_labels).mean()
    print(f"{share:.1%} of the held-out digits lie in the petal of their label")
    return share


@command(help=__doc__)
@click.option("--epochs", type=int, help="Passes over all training images. [default: 20]")
@click.option("--out", default="runs/example_semi_supervised", show_default=True, help="The run.")
def program(**options):
    main(**options)


if __name__ == "__main__":
    program()
