"""Where the time of a step goes, for the default recipe of every mode, on MNIST.

    python benchmarks/steps.py [--steps 60]

Prints images/s, milliseconds of a step, and the share of each kind of work. Two processes measure
each recipe. The first one takes the steps as they are. In the second one MXNet's profiler times
every operation, and MXNet joins none of them to larger ones, so it is a little slower. The rest is
Python, waiting, and the profiler.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time

import click

RECIPES = {
    "label_prior": {},
    "label_prior with labels": {"prior": "gaussian_mixture", "labels": "all"},
    "style": {"mode": "style"},
    "classification, 1,000 labels": {"mode": "classification", "labels": 1000},
    "clustering": {"mode": "clustering"},
    "reduction": {"mode": "reduction"},
}
# Steps that are not counted.
WARM_UP = 20
# Kinds of work by what is in an operation's name, in this order.
KINDS = {
    "products": ("FullyConnected", "dot"),
    "optimizers": ("adam", "sgd"),
    "activations": ("Activation", "relu"),
    "warps": ("BilinearSampler", "GridGenerator", "transpose"),
    "small operations": ("",),
}


@click.command()
@click.option("--steps", default=60, show_default=True, type=click.IntRange(1))
@click.option("--only", type=click.Choice(list(RECIPES)), help="One of them.")
@click.option("--profile", type=click.Choice(["off", "on"]), hidden=True)
def main(steps, only, profile):
    """Measure where the time of a step goes."""
    if profile:
        click.echo(json.dumps(measured(RECIPES[only], steps, profile == "on")))
        return
    click.echo(f"{'':30}images/s  ms a step  " + "  ".join((*KINDS, "rest")))
    for name in [only] if only else RECIPES:
        (per_second, plain, _), (_, profiled, parts) = (
            child(name, steps, how) for how in ("off", "on")
        )
        shares = {kind: parts[kind] / profiled for kind in KINDS}
        shares["rest"] = 1 - sum(shares.values())
        cells = "  ".join(f"{share:>{len(kind)}.0%}" for kind, share in shares.items())
        click.echo(f"{name:30}{per_second:8.0f}  {plain:9.1f}  {cells}")


def child(name, steps, profile):
    """``measured`` in a process of its own, as MXNet reads at its import what it joins."""
    command = [sys.executable, os.path.abspath(__file__), "--steps", str(steps), "--only", name]
    joined = {"MXNET_EXEC_BULK_EXEC_TRAIN": "0"} if profile == "on" else {}
    with tempfile.TemporaryDirectory() as directory:
        # At its end MXNet's profiler leaves a file in the working directory.
        done = subprocess.run(
            [*command, "--profile", profile],
            capture_output=True,
            text=True,
            env={**os.environ, **joined},
            cwd=directory,
        )
    if done.returncode:
        raise click.ClickException(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measured(options, steps, profile):
    """Images/s, milliseconds of a step, and with ``profile`` those of each kind of work."""
    from aae_mx import Config
    from aae_mx.backend import mx
    from aae_mx.data import load_dataset
    from aae_mx.model import AAE
    from aae_mx.training.batches import epoch_batches, training_labels
    from aae_mx.training.loop import training_images
    from aae_mx.training.optimizers import Learner

    config = Config(**options)
    dataset = load_dataset(config, quiet=True)
    model = AAE(config, dataset.image_shape, dataset.classes)
    mode, learn = model.mode, Learner(model.mode)
    learn.at(1, 1.0)
    images, labels = training_images(mode, dataset, model.scale), training_labels(config, dataset)
    batches = epoch_batches(mode, images, labels, 1)
    for batch in itertools.islice(batches, WARM_UP):
        mode.step(batch, learn)
    mx.nd.waitall()
    if profile:
        mx.profiler.set_config(profile_imperative=True, profile_symbolic=True, aggregate_stats=True)
        mx.profiler.set_state("run")
    start, seen, done = time.perf_counter(), 0, 0
    for batch in itertools.islice(batches, steps):
        mode.step(batch, learn)
        seen, done = seen + len(batch.images), done + 1
    mx.nd.waitall()
    seconds = time.perf_counter() - start
    parts = dict.fromkeys(KINDS, 0.0)
    if profile:
        mx.profiler.set_state("stop")
        operations = json.loads(mx.profiler.dumps(format="json"))["Time"]["operator"]
        for name, times in operations.items():
            parts[kind_of(name)] += times["Total"] / done
    return seen / seconds, 1e3 * seconds / done, parts


def kind_of(operation):
    """Which of KINDS an operation of MXNet is."""
    return next(kind for kind, words in KINDS.items() if any(w in operation for w in words))


if __name__ == "__main__":
    main()
