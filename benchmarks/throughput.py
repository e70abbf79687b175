"""How fast a training step is: by phase, beside a bound of the machine, and beside its peers.

    python benchmarks/throughput.py --steps 300 [--labels] [--peer]
    python benchmarks/throughput.py --steps 50 --conv [--peer]

The step is the full three-phase one at the reference sizes (784-1000-1000-2, batch 100), or,
with --conv, of the convolutional networks at their defaults on 64 × 64 pixels in colour (batch
64; only the step and the peer are measured then).

The bound is measured in the same run: no step can be faster than the time of its matrix products
at the best rate that this machine reaches at any size, plus that of the bytes which the optimizer
has to move at the rate at which it moves them when all of them are in a cache.

The peers are the same step in PyTorch (torch_aae.py: as it is, through torch.compile, in bfloat16)
and in JAX (jax_aae.py), and need the extra "bench". All run in turn, A B C A B C, in processes of
their own; the ratios are those of the medians.
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
# Of a weight by Adam: weight, mean and square are read and written, the gradient is read.
BYTES_OF_AN_UPDATE = 7 * 4
TORCH, JAX = "torch_aae.py", "jax_aae.py"
PEERS = {
    "torch": [TORCH],
    "torch_compile": [TORCH, "--compile"],
    "torch_bf16": [TORCH, "--bf16"],
    "torch_compile_bf16": [TORCH, "--compile", "--bf16"],
    "jax": [JAX],
}
CONV_PEERS = {
    "torch": [TORCH],
    "torch_channels_last": [TORCH, "--channels-last"],
    "torch_compile": [TORCH, "--compile"],
    "torch_compile_channels_last": [TORCH, "--compile", "--channels-last"],
    "jax": [JAX],
}


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
@click.option("--peer", is_flag=True, help="Also run the peers, and print the ratio to each.")
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(sorted({*PEERS, *CONV_PEERS})),
    help="A peer to leave out, as bfloat16 where the processor has none. Can be given again.",
)
@click.option(
    "--rounds",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Turns of each with --peer.",
)
@click.option("--only-step", is_flag=True, help="Only samples per second.")
def main(steps, labels, conv, peer, without, rounds, only_step):
    """Measure the speed of the training step."""
    if conv and labels:
        raise click.UsageError("--conv is measured without --labels")
    if peer:
        for module, name in (("torch", "PyTorch"), ("jax", "JAX"), ("optax", "Optax")):
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise click.ClickException(
                    f"the peers need {name}, which is not installed; install it with "
                    f"{sys.executable} -m pip install -e '.[bench]'"
                ) from error
        peers = {n: c for n, c in (CONV_PEERS if conv else PEERS).items() if n not in without}
        compare(peers, steps, ["--labels"] * labels + ["--conv"] * conv, rounds)
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
        bound = bound_of(setting["model"])
        click.echo(f"fraction_of_the_bound={bound / statistics.median(times):.3f}")
        # The bound is made of best rates; on a shared machine the median is not.
        click.echo(f"fraction_of_the_bound_in_the_best_stretch={bound / min(times):.3f}")
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


def bound_of(model):
    """Seconds below which no step can be, see above."""
    flops, moved = work_of_a_step(model)
    products, optimizer = product_rate(), adam_rate()
    seconds = least_seconds(flops, moved, products, optimizer)
    click.echo(
        f"{'bound':26} {1e3 * seconds:7.2f} ms: {flops / 1e9:.2f} GFLOP at {products / 1e9:.0f} "
        f"GFLOP/s, {moved / 1e6:.0f} MB at {optimizer / 1e9:.1f} GB/s"
    )
    return seconds


def least_seconds(flops, moved, products, optimizer):
    """The seconds of ``flops`` and of ``moved`` bytes, at so many of each a second."""
    return flops / products + moved / optimizer


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
    updated = 2 * whole["encoder"] + whole["decoder"] + whole["discriminator"]
    return 2 * BATCH * products, BYTES_OF_AN_UPDATE * updated


def product_rate():
    """The best rate (FLOP/s) of matrix products, of MXNet's or NumPy's, at any size.

    Of layers alone, again and again: forward, and forward with both gradients; at the step's batch
    and at larger ones.
    """
    from aae_mx.backend import mx

    def forward(x, weight):
        return mx.nd.FullyConnected(x, weight, num_hidden=len(weight), no_bias=True)

    def forward_and_backward(x, weight, gradient):
        with mx.autograd.record():
            y = forward(x, weight)
        y.backward(gradient)

    best = 0.0
    for batch, inputs, outputs in itertools.product((100, 400, 1600), (784, 1000), (1000, 2000)):
        x = mx.nd.random.normal(shape=(batch, inputs))
        weight = mx.nd.random.normal(shape=(outputs, inputs))
        gradient = mx.nd.random.normal(shape=(batch, outputs))
        arrays = x.asnumpy(), weight.asnumpy().T.copy()
        product = 2 * batch * inputs * outputs
        repeats = max(3, 40 * 100 // batch)
        x.attach_grad()
        weight.attach_grad()
        for share, work in (
            (1, lambda x=x, w=weight: forward(x, w)),
            (3, lambda x=x, w=weight, g=gradient: forward_and_backward(x, w, g)),
            (1, lambda arrays=arrays: arrays[0] @ arrays[1]),
        ):
            for _ in range(4):
                rate = repeats * share * product / seconds(work, repeats, warm_up=2)
                best = max(best, rate)
    return best


def adam_rate():
    """The best rate, in bytes per second, at which an update is done that a cache holds."""
    from aae_mx.backend import mx
    from aae_mx.training.optimizers import Adam

    best = 0.0
    for size in (50_000, 200_000, 1_000_000):
        network = mx.gluon.nn.Dense(size, in_units=1, use_bias=False)
        network.initialize()
        adam = Adam({"weight": network.weight}, 0.5, 0.999, 1e-8, 5.0)
        repeats = 20_000_000 // size
        for _ in range(4):
            rate = (
                repeats * BYTES_OF_AN_UPDATE * size / seconds(lambda a=adam: a.step(0.0), repeats)
            )
            best = max(best, rate)
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
        "model = AAE(config, dataset.image_shape, dataset.classes); mode = model.mode\n"
        "images = loop.training_images(mode, dataset, model.scale)\n"
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


def compare(peers, steps, options, rounds):
    """Run this program and the peers in turn and print the ratios of the medians."""
    options = ["--steps", str(steps), *options]
    commands = {"aae_mx": [__file__, *options, "--only-step"]}
    for name, (program, *how) in peers.items():
        commands[name] = [str(HERE / program), *options, *how]
    rates = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
            found = re.search(r"samples_per_s=(\d+)", done.stdout)
            if not found:
                last = (done.stderr.strip() or "no output").splitlines()[-1]
                raise click.ClickException(f"{' '.join(command)} failed: {last}")
            rates[name].append(int(found.group(1)))
            click.echo(f"{name}_samples_per_s={rates[name][-1]}")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name in peers:
        click.echo(f"ratio_to_{name}={medians['aae_mx'] / medians[name]:.3f}")
    click.echo(f"ratio_to_the_fastest={medians['aae_mx'] / max(medians[n] for n in peers):.3f}")


if __name__ == "__main__":
    main()
