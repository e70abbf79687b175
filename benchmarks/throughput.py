"""How fast a training step is: by phase, beside the machine's ceiling and a PyTorch peer.

    python benchmarks/throughput.py --steps 300 [--labels] [--peer]
    python benchmarks/throughput.py --steps 50 --conv [--peer]

The step is the full three-phase one at the reference sizes (784-1000-1000-2, batch 100), or,
with --conv, of the convolutional networks at their defaults on 64 × 64 pixels in colour (batch
64; only the step and the peer are measured then).
The ceiling is measured in the same run: the time of the step's matrix products at the best
rate seen at these shapes, plus that of the bytes which the optimizer must move at the rate
of a copy. The peer (benchmarks/torch_aae.py, needs the extra "bench") runs in turn with this
program, A B A B, in processes of their own; the ratio is that of the medians.
"""

from __future__ import annotations

import importlib
import itertools
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np

HERE = Path(__file__).parent
BATCH, CONV_BATCH = 100, 64
# The step is measured so many times, and the median taken.
STRETCHES = 5


@click.command()
@click.option(
    "--steps",
    default=300,
    show_default=True,
    type=click.IntRange(1),
    help="Steps of each measurement.",
)
@click.option("--labels", is_flag=True, help="Condition the discriminator on ten labels.")
@click.option("--conv", is_flag=True, help="Of the convolutional networks, without labels.")
@click.option("--peer", is_flag=True, help="Also run the PyTorch peer, and print the ratio.")
@click.option(
    "--rounds",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Turns of each with --peer.",
)
@click.option("--only-step", is_flag=True, help="Only samples per second.")
def main(steps, labels, conv, peer, rounds, only_step):
    """Measure the speed of the training step."""
    if conv and labels:
        raise click.UsageError("--conv is measured without --labels")
    if peer:
        try:
            importlib.import_module("torch")
        except ImportError as error:
            raise click.ClickException(
                "the peer needs PyTorch, which is not installed; install it with "
                f"{sys.executable} -m pip install -e '.[bench]'"
            ) from error
        compare(steps, ["--labels"] * labels + ["--conv"] * conv, rounds)
        return
    stretch = -(-steps // STRETCHES)
    if conv:
        step = prepare_conv()
        times = [seconds(step, stretch, warm_up=0 if i else 3) / stretch for i in range(STRETCHES)]
        click.echo(f"aae_mx_samples_per_s={CONV_BATCH / statistics.median(times):.0f}")
        return
    setting = prepare(labels)
    times = [
        seconds(setting["step"], stretch, warm_up=2 if i else 20) / stretch
        for i in range(STRETCHES)
    ]
    click.echo(f"aae_mx_samples_per_s={BATCH / statistics.median(times):.0f}")
    if not only_step:
        parts(setting, steps)
        ceiling = ceiling_of(setting["model"])
        click.echo(f"fraction_of_ceiling={ceiling / statistics.median(times):.3f}")
        # The ceiling is made of best rates; on a shared machine the median is not.
        click.echo(f"fraction_of_ceiling_in_the_best_stretch={ceiling / min(times):.3f}")
        surroundings()


def prepare(labels):
    """A reference model with batches, and functions of no argument that do its parts."""
    from aae_mx import Config
    from aae_mx.backend import mx
    from aae_mx.model import AAE
    from aae_mx.training.batches import Batch
    from aae_mx.training.optimizers import Learner

    config = Config(
        recipe="reference",
        prior="swiss_roll" if labels else "gaussian",
        labels="all" if labels else "none",
    )
    model = AAE(config, (28, 28), "0123456789")
    mode, learn = model.mode, Learner(model.mode)
    rng = np.random.default_rng(0)
    images = mx.nd.array(rng.random((5000, 784), np.float32))
    given = rng.integers(10, size=5000) if labels else None

    stream = endless_batches(mode, images, given)
    batch = next(stream)
    codes = model.encoder(batch.images)
    rate, optimizers = config.generator_rate, learn.optimizers
    without_noise = Batch(condition=batch.condition)

    def still(loss, *names):
        """Instead of a Learner, to time a phase without its updates."""
        loss.backward()

    return {
        "model": model,
        "step": lambda: step(mode, learn, stream),
        "reconstruction": lambda: mode.reconstruction_phase(batch.images, None, still),
        "discriminator": lambda: mode.discriminator_phase(
            codes, batch.prior_codes[:, 0], batch.condition, still
        ),
        "generator": lambda: mode.generator_phase(batch.images, without_noise, None, still),
        "Adam of the encoder": lambda: optimizers["encoder"].step(rate),
        "Adam of the decoder": lambda: optimizers["decoder"].step(rate),
        "Adam of the discriminator": lambda: optimizers["discriminator"].step(rate),
        "compiled": optimizers["encoder"].compiled,
    }


def prepare_conv():
    """A function of no argument that is a step of the convolutional networks.

    Making the batch of the decoded images of a folder is part of it.
    """
    from aae_mx import Config
    from aae_mx.model import AAE
    from aae_mx.training.optimizers import Learner

    config = Config(images=".", image_size=64, batch_size=CONV_BATCH)
    mode = AAE(config, (64, 64, 3), ()).mode
    learn = Learner(mode)
    images = np.random.default_rng(0).integers(256, size=(3200, 64, 64, 3)).astype(np.uint8)
    stream = endless_batches(mode, images, None)
    return lambda: step(mode, learn, stream)


def step(mode, learn, stream):
    """A step on the next batch; its metrics become one array, as in the loop."""
    from aae_mx.backend import mx

    return mx.nd.concat(*mode.step(next(stream), learn).values(), dim=0)


def endless_batches(mode, images, labels):
    """The batches of one epoch after another."""
    from aae_mx.training.batches import epoch_batches

    for turn in itertools.count():
        yield from epoch_batches(mode, images, labels, turn % mode.config.epochs + 1)


def seconds(work, repeats, warm_up=20):
    """Seconds that ``repeats`` calls take once warm, the device's work included."""
    from aae_mx.backend import mx, release_threads

    release_threads()
    for _ in range(warm_up):
        work()
    mx.nd.waitall()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    mx.nd.waitall()
    return time.perf_counter() - start


def parts(setting, steps):
    """Print milliseconds of each phase without its updates, and of each update."""
    for name in setting:
        if name not in ("model", "step", "compiled"):
            click.echo(f"{name:26} {1e3 * seconds(setting[name], steps) / steps:7.2f} ms")
    click.echo(f"{'compiled Adam':26} {'yes' if setting['compiled'] else 'no':>7}")


def ceiling_of(model):
    """Seconds that a step would take if its products and copies went at the best rates."""
    flops, moved = work_of_a_step(model)
    gemm, copy = gemm_rate(), copy_rate()
    ceiling = flops / gemm + moved / copy
    click.echo(
        f"{'ceiling':26} {1e3 * ceiling:7.2f} ms: {flops / 1e9:.2f} GFLOP at {gemm / 1e9:.0f} "
        f"GFLOP/s, {moved / 1e6:.0f} MB at {copy / 1e9:.1f} GB/s"
    )
    return ceiling


def work_of_a_step(model):
    """Floating-point operations of the matrix products, and bytes that Adam must move."""
    from aae_mx.networks.build import parameters

    shapes = {
        name: [p.shape for key, p in parameters(network).items() if key.endswith("weight")]
        for name, network in model.networks.items()
    }
    sizes = {name: [rows * columns for rows, columns in shapes[name]] for name in shapes}
    whole = {name: sum(layers) for name, layers in sizes.items()}
    first = {name: layers[0] for name, layers in sizes.items()}
    # Forward, gradient of the weights, gradient of the input (not of a network's first
    # layer where nothing lies before it). The discriminator sees 2 N codes in its phase.
    encoder = 3 * whole["encoder"] - first["encoder"]
    products = (
        (encoder + 3 * whole["decoder"])
        + 2 * (3 * whole["discriminator"] - first["discriminator"])
        # In the generator phase the discriminator's weights need no gradient.
        + (encoder + 2 * whole["discriminator"])
    )
    # Weight, mean and square are read and written, the gradient is read.
    updated = 2 * whole["encoder"] + whole["decoder"] + whole["discriminator"]
    return 2 * BATCH * products, 7 * 4 * updated


def gemm_rate():
    """The best rate (FLOP/s) of MXNet's matrix products at the step's large shapes.

    Of each layer alone, again and again: forward, and forward with both gradients.
    """
    from aae_mx.backend import mx

    def forward(x, weight):
        return mx.nd.FullyConnected(x, weight, num_hidden=len(weight), no_bias=True)

    def forward_and_backward(x, weight, gradient):
        with mx.autograd.record():
            y = forward(x, weight)
        y.backward(gradient)

    best = 0.0
    for inputs, outputs in ((784, 1000), (1000, 1000), (1000, 784)):
        x = mx.nd.random.normal(shape=(BATCH, inputs))
        weight = mx.nd.random.normal(shape=(outputs, inputs))
        gradient = mx.nd.random.normal(shape=(BATCH, outputs))
        product = 2 * BATCH * inputs * outputs
        for _ in range(5):
            best = max(best, 40 * product / seconds(lambda x=x, w=weight: forward(x, w), 40))
        x.attach_grad()
        weight.attach_grad()
        both = lambda x=x, w=weight, g=gradient: forward_and_backward(x, w, g)  # noqa: E731
        for _ in range(5):
            best = max(best, 40 * 3 * product / seconds(both, 40))
    return best


def copy_rate():
    """Bytes per second, read and written, of a copy too large for the caches."""
    source = np.ones(40_000_000, np.float32)
    target = np.empty_like(source)
    best = 0.0
    for _ in range(8):
        start = time.perf_counter()
        np.copyto(target, source)
        best = max(best, 2 * source.nbytes / (time.perf_counter() - start))
    return best


def surroundings():
    """Print what lies around the steps: start-up, prior, encoding, decoding."""
    from aae_mx import Config, priors
    from aae_mx.model import AAE

    first_step = (
        "import time; start = time.time()\n"
        "from aae_mx import Config\n"
        "from aae_mx.data import load_dataset\n"
        "from aae_mx.model import AAE\n"
        "from aae_mx.training import batches, loop, optimizers\n"
        "config = Config(); dataset = load_dataset(config)\n"
        "mode = AAE(config, dataset.image_shape, dataset.classes).mode\n"
        "images = loop.training_images(mode, dataset)\n"
        "batch = next(batches.epoch_batches(mode, images, None, 1))\n"
        "mode.step(batch, optimizers.Learner(mode)); loop.nd.waitall()\n"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", first_step], check=True, cwd=HERE.parent)
    click.echo(f"start-up to first step     {time.perf_counter() - start:7.2f} s")
    rng = np.random.default_rng(0)
    for name, prior in priors.PRIORS.items():
        start = time.perf_counter()
        prior().sample(1_000_000, rng)
        click.echo(f"1,000,000 of {name:16} {time.perf_counter() - start:5.2f} s")
    model = AAE(Config(), (28, 28), "0123456789")
    images = np.zeros((60_000, 28, 28), np.uint8)
    for name, work in (
        ("encoding 60,000 images", lambda: model.encode(images)),
        ("decoding 441 codes", lambda: model.decode(np.zeros((441, 2)))),
    ):
        work()
        start = time.perf_counter()
        work()
        click.echo(f"{name:26} {time.perf_counter() - start:7.2f} s")


def compare(steps, options, rounds):
    """Run this program and the peer in turn and print the ratio of the medians."""
    options = ["--steps", str(steps), *options]
    commands = {
        "aae_mx": [__file__, *options, "--only-step"],
        "torch": [str(HERE / "torch_aae.py"), *options],
    }
    rates = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
            found = re.search(r"samples_per_s=(\d+)", done.stdout)
            if not found:
                last = (done.stderr.strip() or "no output").splitlines()[-1]
                raise click.ClickException(f"{command[0]} failed: {last}")
            rates[name].append(int(found.group(1)))
            click.echo(f"{name}_samples_per_s={rates[name][-1]}")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    click.echo(f"ratio_of_medians={medians['aae_mx'] / medians['torch']:.3f}")


if __name__ == "__main__":
    main()
