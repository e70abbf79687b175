"""Without labels: push the codes of MNIST towards a Gaussian, then draw new digits from it.

    python examples/unsupervised.py

Takes some minutes on two cores. Writes runs/example_unsupervised and two pictures in it.
"""

import aae_mx
from aae_mx import plotting
from aae_mx.data import load_dataset


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


if __name__ == "__main__":
    main()
