"""How much memory training on a large folder takes: the peak of each command's resident set.

    python benchmarks/memory.py [--images 100000] [-- any option of aae_mx.train]

Makes a folder of so many JPEG files in colour in a temporary directory, decodes it, trains one
epoch on it, draws the figures and evaluates; each command runs in a process of its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--images", "n", default=100_000, show_default=True, type=click.IntRange(10))
@click.option("--size", default=64, show_default=True, help="Of the images, and --image-size.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(n, size, options):
    """Measure the memory of training on a folder of images."""
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        make_images(directory / "images", n, size)
        train = ["train", "--images", directory / "images", "--image-size", size, "--epochs", 1]
        train += ["--out", directory / "run", "--no-figures", *options]
        environment = {**os.environ, "XDG_CACHE_HOME": str(directory / "cache")}
        for command in (train, ["plot", directory / "run"], ["evaluate", directory / "run"]):
            start = time.monotonic()
            peak = peak_of([sys.executable, "-m", "aae_mx", *map(str, command)], environment)
            seconds = time.monotonic() - start
            click.echo(f"{command[0]:8} peak_rss_mb={peak / 1e6:.0f} seconds={seconds:.0f}")


def make_images(folder, n, size):
    """Soft patches of random colours."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        patches = Image.fromarray(rng.integers(256, size=(6, 6, 3)).astype(np.uint8))
        picture = patches.resize((size, size), Image.BILINEAR)
        picture.save(folder / f"{i:06}.jpg")


def peak_of(command, environment):
    """Bytes of the largest resident set that a command had."""
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{' '.join(command)} failed")
    # Linux counts in KiB, macOS in bytes.
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
