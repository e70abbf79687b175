"""A prior of your own: two moons, along which the classes lie one after another.

    python examples/own_prior.py  # --help lists its options

or, with everything that the commands can do:

    python -m aae_mx.train --plugin examples/own_prior.py --prior moons --labels --moons-radius 3
    python -m aae_mx.evaluate --plugin examples/own_prior.py runs/moons_supervised
"""

from dataclasses import dataclass

import click
import numpy as np

import aae_mx
from aae_mx.commands.options import command
from aae_mx.priors import Prior, setting


@dataclass
class Moons(Prior):
    """Half circles that reach into each other; the first half of the classes is on the upper."""

    name = "moons"
    radius: float = setting(2.0, "Radius of the moons.", above=0)
    width: float = setting(0.1, "Standard deviation across them.", at_least=0)

    def draw(self, n, rng, code_dim, labels, n_labels):
        if code_dim != 2:
            raise ValueError(f"code_dim={code_dim}: the moons lie in a plane, expected 2")
        # From 0 to 2 along both moons: below 1 on the upper one.
        along = 2 * (labels + rng.random(n)) / n_labels
        upper, angle = along < 1, np.pi * (along % 1)
        radius = self.radius + self.width * rng.standard_normal(n)
        x = np.where(upper, radius * np.cos(angle), self.radius - radius * np.cos(angle))
        y = np.where(upper, radius * np.sin(angle), self.radius / 2 - radius * np.sin(angle))
        return np.stack([x - self.radius / 2, y - self.radius / 4], axis=1)


def main(out="runs/example_own_prior", **settings):
    config = aae_mx.Config(prior=Moons(radius=2.5), labels="all", **settings)
    model = aae_mx.fit(config, out)
    # p(z), q(z), samples and more go to its directory.
    from aae_mx.report.figures import plot_run

    print(f"figures: {plot_run(model)}")


@command(help=__doc__)
@click.option("--epochs", type=int, help="Passes over all training images. [default: 20]")
@click.option("--out", default="runs/example_own_prior", show_default=True, help="The run.")
def program(**options):
    main(**options)


if __name__ == "__main__":
    program()
