"""What several workers make of a step: throughput, bytes that are sent, and the share of waiting.

    python benchmarks/workers.py --workers 1,2,4 --batch 100,400,1600
    python benchmarks/workers.py --workers 1,2,4 --batch 64,256 --conv
    benchmarks/network.sh 1gbit 1ms 2 python benchmarks/workers.py --hosts HOSTS --workers 2

Every worker has one thread. The step is that of throughput.py, without labels, at the reference
sizes or, with --conv, of the convolutional networks on 64 × 64 pixels in colour. Each measurement
has processes of its own, in which the same steps are done twice: with the exchange, and without,
as if the worker were alone with its rows. What the first takes longer is waiting. "alone" is one
process without others, with one thread and with all cores.

    python benchmarks/workers.py --model

prints what n machines would make of it by the formula of ``exchange_seconds``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import click

from aae_mx.commands.hosts import LOOPBACK, Host, command, read_hosts
from aae_mx.commands.launch import GRADIENTS, _free_port, variables
from aae_mx.threads import usable_cores

HERE = Path(__file__)
WARM_UP, STRETCHES = 3, 3
# Measured on two cores with the program itself: seconds for each byte of gradients to be copied and
# summed; how much longer the way there and back takes than its bits at the rate of the network; and
# images/s of one machine, by network and batch, with the bytes of its gradients.
COPY, LONGER = 3e-9, 1.4
MACHINES = {
    "perceptrons": {100: 2500, 400: 2900, 1600: 3200},
    "convolutions": {64: 156, 256: 172},
}
BYTES = {"perceptrons": 22.5e6, "convolutions": 9.4e6}
# Sums of a step, each of which goes there and comes back.
PHASES = 3


@click.command()
@click.option("--workers", default="1,2,4", show_default=True, help="How many, with commas.")
@click.option("--batch", default="100,400,1600", show_default=True, help="Images, with commas.")
@click.option("--conv", is_flag=True, help="Of the convolutional networks.")
@click.option("--steps", default=20, show_default=True, type=click.IntRange(1))
@click.option("--servers", type=click.IntRange(1, 64), help="[default: as many as hosts]")
@click.option("--gradients", type=click.Choice(GRADIENTS), default="float32", show_default=True)
@click.option("--hosts", type=click.Path(path_type=Path), help="As of aae_mx.launch.")
@click.option("--model", is_flag=True, help="Measure nothing; print what to expect of n machines.")
@click.option("--work", hidden=True)
def main(workers, batch, conv, steps, servers, gradients, hosts, model, work):
    """Measure a step by several workers."""
    if model:
        expect()
        return
    if work is not None:
        print(json.dumps(measure(**json.loads(work))))
        return
    print("batch  workers  images/s  of one process  sent a step (MB)  waiting")
    for images in map(int, batch.split(",")):
        work = {"batch": images, "conv": conv, "steps": steps}
        alone = {}
        for threads in sorted({1, usable_cores()}):
            alone[threads] = images / alone_with(work, threads)["seconds"]
            print(
                f"{images:5}  {'alone':>7}  {alone[threads]:8,.0f}  {threads} threads", flush=True
            )
        for n in map(int, workers.split(",")):
            found = together(work, n, servers, gradients, hosts)
            rate = images / found["seconds"]
            print(
                f"{images:5}  {n:7}  {rate:8,.0f}  {rate / max(alone.values()):14.2f}  "
                f"{found['bytes'] / 1e6:16.1f}  {1 - found['own'] / found['seconds']:7.0%}",
                flush=True,
            )


def exchange_seconds(sent, n, gigabits, delay):
    """Of a step of n machines with a server each: what its exchange takes, in seconds.

    ``sent``: bytes of the gradients. Of these each machine keeps one n-th, sends the rest to the
    others' servers and, as a server, sends as much back.
    """
    on_the_way = 2 * 8 * sent * (1 - 1 / n) / (gigabits * 1e9)
    return COPY * sent + LONGER * on_the_way + 2 * PHASES * delay


def expect():
    """Print how many times as fast as one machine n of its kind are."""
    counts = (2, 4, 8, 16, 32, 64)
    print("| networks, batch | network | " + " | ".join(map(str, counts)) + " |")
    print("|---" * (2 + len(counts)) + "|")
    for networks, rates in MACHINES.items():
        for batch, rate in rates.items():
            for gigabits in (1, 10):
                own = batch / rate
                cells = (
                    own / (own / n + exchange_seconds(BYTES[networks], n, gigabits, 1e-3))
                    for n in counts
                )
                times = " | ".join(f"{cell:.1f}" for cell in cells)
                print(f"| {networks}, {batch:,} | {gigabits} Gbit/s | {times} |")


def alone_with(work, threads):
    """What ``measure`` says of one process with so many threads."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    line = [sys.executable, str(HERE), "--work", json.dumps(work)]
    return json.loads(subprocess.run(line, env=environment, capture_output=True, check=True).stdout)


def together(work, n, servers, gradients, hosts):
    """What ``measure`` says in the first of n workers."""
    there, own = [Host("localhost", n, LOOPBACK)], LOOPBACK
    if hosts is not None:
        there, own = read_hosts(hosts)
    servers = servers or len(there)
    shared = variables(n, servers, own, _free_port(own, None), gradients)
    shared["OMP_NUM_THREADS"] = "1"
    places = [("scheduler", 0, Host("localhost", 1, own))]
    places += [("server", i, there[i % len(there)]) for i in range(servers)]
    places += [("worker", i, there[i % len(there)]) for i in range(n)]
    processes = []
    try:
        for role, number, host in places:
            own_part = {"DMLC_ROLE": role, "DMLC_TASK_ID": str(number)}
            own_part = {**shared, **own_part, "DMLC_NODE_HOST": host.address}
            arguments = ["-m", "aae_mx.launch", "--serve"]
            if role == "worker":
                arguments = [str(HERE.resolve()), "--work", json.dumps(work)]
            line, environment = command(host, own_part, arguments, sys.executable)
            processes.append(subprocess.Popen(line, env=environment, stdout=subprocess.PIPE))
        first = processes[1 + servers]
        return json.loads(first.communicate()[0])
    finally:
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def measure(batch, conv, steps):
    """The seconds of a step of all workers, of this one without others, and the bytes it sends."""
    import numpy as np

    from aae_mx.backend import mx
    from aae_mx.config import Config
    from aae_mx.exchange import Exchange
    from aae_mx.model import AAE
    from aae_mx.training.batches import epoch_batches
    from aae_mx.training.optimizers import Learner

    shape = (64, 64, 3) if conv else (28, 28)
    config = Config(prior="gaussian", arch="conv" if conv else "mlp", batch_size=batch)
    model = AAE(config, shape, ())
    mode, learn = model.mode, Learner(model.mode)
    exchange, sent = mode.exchange, 0
    images = mx.nd.array(np.random.default_rng(0).random((10 * batch, mode.n_pixels)))
    stream, epoch = iter(()), 0

    def next_batch():
        nonlocal stream, epoch
        found = next(stream, None)
        if found is None:
            epoch += 1
            of = (exchange.rank, exchange.n)
            stream = epoch_batches(mode, images, None, epoch, worker=of)
            found = next(stream)
        return found

    def run():
        for _ in range(WARM_UP):
            mode.step(next_batch(), learn)
        mx.nd.waitall()
        times = []
        for _ in range(STRETCHES):
            start = time.perf_counter()
            for _ in range(steps):
                mode.step(next_batch(), learn)
            mx.nd.waitall()
            times.append((time.perf_counter() - start) / steps)
        return statistics.median(times)

    counted = exchange.sum

    def count(name, arrays):
        nonlocal sent
        sent += sum(array.size * np.dtype(array.dtype).itemsize for array in arrays)
        counted(name, arrays)

    exchange.sum = count
    mode.step(next_batch(), learn)
    bytes_sent, exchange.sum = sent, counted
    seconds = run()
    exchange.any(False)
    exchange.end()

    class Silent(Exchange):
        rank, n = exchange.rank, exchange.n

    # All at once, as before: the others compute, too.
    mode.exchange = Silent()
    return {"seconds": seconds, "own": run(), "bytes": bytes_sent if exchange.n > 1 else 0}


if __name__ == "__main__":
    main()
