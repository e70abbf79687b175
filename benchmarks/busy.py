"""How fast a training is beside other programs on the same cores.

    python benchmarks/busy.py [--steps 300] [--rounds 3] [--peer]

Measures the training step at the reference sizes alone, beside one and two processes that
compute all the time, and beside a second training, in turn; prints the medians of the rounds, and
their ratio to those alone. With --peer also of the same step in PyTorch and JAX (the extra
"bench"): what would be taken instead. A second training is one of the same program.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

HERE = Path(__file__).parent
PROGRAMS = {
    "aae_mx": [str(HERE / "throughput.py"), "--only-step"],
    "torch": [str(HERE / "torch_aae.py")],
    "jax": [str(HERE / "jax_aae.py")],
}
BUSY = ["-c", "while True: pass"]
# More steps than any measurement takes: what runs beside it is ended with it.
FOR_LONG = ["--steps", "1000000"]


@click.command()
@click.option("--steps", default=300, show_default=True, help="Steps of each measurement.")
@click.option("--rounds", default=3, show_default=True, help="Turns of each.")
@click.option("--peer", is_flag=True, help="Also measure PyTorch and JAX.")
def main(steps, rounds, peer):
    """Measure the speed of training beside other programs."""
    programs = PROGRAMS if peer else {"aae_mx": PROGRAMS["aae_mx"]}
    beside = {
        "alone": lambda program: [],
        "beside 1 busy process": lambda program: [BUSY],
        "beside 2 busy processes": lambda program: [BUSY, BUSY],
        "beside a second training": lambda program: [PROGRAMS[program] + FOR_LONG],
    }
    rates = {(program, place): [] for program in programs for place in beside}
    for _ in range(rounds):
        for (program, place), found in rates.items():
            with neighbours(beside[place](program)):
                found.append(rate([*programs[program], "--steps", str(steps)]))
            click.echo(f"{program:8} {place:26} {found[-1]:6.0f} images/s")
    click.echo("medians:")
    for (program, place), found in rates.items():
        median, alone = statistics.median(found), statistics.median(rates[program, "alone"])
        click.echo(f"{program:8} {place:26} {median:6.0f} images/s  {median / alone:5.2f}")


@contextmanager
def neighbours(commands):
    """Python programs that run meanwhile."""
    with ExitStack() as stack:
        for command in commands:
            process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
            # Undone in reverse: killed, then waited for.
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def rate(command):
    """The samples per second that a program prints."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    found = re.search(r"samples_per_s=(\d+)", done.stdout)
    if not found:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        raise click.ClickException(f"{command[0]} failed: {last}")
    return int(found.group(1))


if __name__ == "__main__":
    main()
