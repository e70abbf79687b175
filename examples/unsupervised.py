"""Without labels: push the codes of MNIST towards a Gaussian, then draw new digits from it.

    python examples/unsupervised.py  # --help lists its options

Takes some minutes on two cores. Writes runs/example_unsupervised and two pictures in it.
"""

import click

import aae_mx
from aae_mx.commands.options import command
from aae_mx.data import load_dataset
from aae_mx.report import plotting


def main(out="runs/example_unsupervised", **settings):
    config = aae_mx.Config(prior="gaussian", **settings)
    model = aae_mx.fit(config, out)

    # No label was used, yet the digits fall into clusters.
    dataset = load_dataset(config)
    codes = model.encode(dataset.test_images)
    ax = plotting.scatter_codes(codes, dataset.test_labels, model.classes)
    ax.figure.savefig(model.run / "codes.png")

    ax = plotting.show_images(model.sample(100, seed=0))
    ax.figure.savefig(model.run / "new_digits.png")


@command(help=__doc__)
@click.option("--epochs", type=int, help="Passes over all training images. [default: 20]")
@click.option("--out", default="runs/example_unsupervised", show_default=True, help="The run.")
def program(**options):
    main(**options)


if __name__ == "__main__":
    program()
