"""How much memory a training takes: the peak of the resident set of each command.

    python benchmarks/memory.py --mnist [--peer] [-- any option of aae_mx.train]
    python benchmarks/memory.py [--images 100000] [-- any option of aae_mx.train]

Trains one epoch on MNIST, or on a folder of so many JPEG files in colour that it makes in a
temporary directory; draws the figures and evaluates. Each command runs in a process of its own.
--peer: also the programs that take the same steps in PyTorch and JAX (needs the extra "bench").
They hold as many random images as bytes.
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

HERE = Path(__file__).parent


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--images", "n", default=100_000, show_default=True, type=click.IntRange(10))
@click.option("--size", default=64, show_default=True, help="Of the images, and --image-size.")
@click.option("--mnist", is_flag=True, help="Of MNIST, instead of a folder of images.")
@click.option("--peer", is_flag=True, help="Also of the peers.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(n, size, mnist, peer, options):
    """Measure the memory of training on a folder of images, or on MNIST."""
    held = ["--images", "70000"] if mnist else ["--conv", "--images", str(n)]
    for program in ("torch_aae.py", "jax_aae.py") if peer else ():
        steps = "100" if mnist else "20"
        peak = peak_of([sys.executable, str(HERE / program), "--steps", steps, *held], os.environ)
        click.echo(f"{program:12} peak_rss_mb={peak / 1e6:.0f}")
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        train = ["train", "--epochs", 1, "--out", directory / "run", "--no-figures", *options]
        if not mnist:
            make_images(directory / "images", n, size)
            train += ["--images", directory / "images", "--image-size", size]
        environment = {**os.environ, "XDG_CACHE_HOME": str(directory / "cache")}
        for command in (train, ["plot", directory / "run"], ["evaluate", directory / "run"]):
            start = time.monotonic()
            peak = peak_of([sys.executable, "-m", "aae_mx", *map(str, command)], environment)
            seconds = time.monotonic() - start
            click.echo(f"{command[0]:12} peak_rss_mb={peak / 1e6:.0f} seconds={seconds:.0f}")


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
