"""With labels: every digit gets its own stretch of a swiss roll.

    python examples/supervised.py  # --help lists its options

Takes some minutes on two cores. Writes runs/example_supervised and two pictures in it.
"""

import click
import numpy as np

import aae_mx
from aae_mx.commands.options import command
from aae_mx.data import load_dataset
from aae_mx.report import plotting


def main(out="runs/example_supervised", **settings):
    config = aae_mx.Config(prior="swiss_roll", labels="all", **settings)
    model = aae_mx.fit(config, out)

    dataset = load_dataset(config)
    codes = model.encode(dataset.test_images)
    ax = plotting.scatter_codes(codes, dataset.test_labels, model.classes)
    ax.figure.savefig(model.run / "codes.png")

    # A label picks the stretch, and so the digit: ten of each, column by column.
    digits = np.tile(np.arange(10), 10)
    ax = plotting.show_images(model.sample(100, labels=digits, seed=0), columns=10)
    ax.figure.savefig(model.run / "new_digits.png")


@command(help=__doc__)
@click.option("--epochs", type=int, help="Passes over all training images. [default: 20]")
@click.option("--out", default="runs/example_supervised", show_default=True, help="The run.")
def program(**options):
    main(**options)


if __name__ == "__main__":
    program()
