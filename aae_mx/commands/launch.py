"""``python -m aae_mx.launch``: one training by several processes, here or on several machines."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, Optional, Sequence, cast

import click

from aae_mx.commands import train
from aae_mx.commands.hosts import LOOPBACK, MAX_WORKERS, Host, read_hosts
from aae_mx.commands.hosts import command as command_on
from aae_mx.commands.launched import serve
from aae_mx.commands.options import command
from aae_mx.commands.output import Files, Said
from aae_mx.errors import InputError, Interrupted
from aae_mx.exchange import GRADIENTS
from aae_mx.text import say

# Seconds that others have to end by themselves after one that failed, as with the same mistake.
GRACE = 3.0


@command(
    name="launch", epilog="Example: python -m aae_mx.launch --workers 2 -- train --images photos"
)
@click.option(
    "--workers",
    type=click.IntRange(1, MAX_WORKERS),
    help="Processes that share each batch. [default: 2, or as many as --hosts has slots]",
)
@click.option(
    "--servers",
    type=click.IntRange(1, 64),
    help="Processes that sum the gradients. [default: 1, or one for each host]",
)
@click.option(
    "--hosts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Start them on several machines with ssh. Each line has a name, as in: node1 slots=2. The "
    "first one writes the run.",
)
@click.option(
    "--address", metavar="A", help="Of this machine for the others. [default: what leads to them]"
)
@click.option(
    "--python", metavar="PATH", help="The Python of the other machines. [default: the path of this]"
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Of the scheduler. [default: a free one]"
)
@click.option(
    "--gradients",
    type=click.Choice(GRADIENTS),
    default=GRADIENTS[0],
    show_default=True,
    help="How they are sent. float16 halves what is sent, and rounds it to three digits.",
)
@click.option(
    "--env",
    is_flag=True,
    help="Start nothing; print the variables to set where another program starts the processes.",
)
@click.option(
    "--serve",
    "served",
    is_flag=True,
    help="Be the server or the scheduler that the variable DMLC_ROLE says, for such a program.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(
    workers: Optional[int],
    servers: Optional[int],
    hosts: Optional[Path],
    address: Optional[str],
    python: Optional[str],
    port: Optional[int],
    gradients: str,
    env: bool,
    served: bool,
    arguments: tuple[str, ...],
) -> None:
    """Train with several processes, each with its share of the cores.

    The result is that of one process but for rounding, except that convolutions normalise over the
    images of each. After -- comes the command train with its options. A run can go on with another
    number of processes, or with one. They trust each other: without --hosts they listen on this
    machine only.
    """
    if served:
        serve()
        return
    if env:
        told = variables(workers or 2, servers or 1, address or LOOPBACK, port or 9091, gradients)
        for name, value in told.items():
            click.echo(f"{name}={value}")
        return
    if not arguments or arguments[0] != "train":
        raise click.UsageError("expected the command train after --, as in: -- train --labels.")
    for option, given in (("--address", address), ("--python", python)):
        if given is not None and hosts is None:
            raise click.UsageError(f"{option} {given}: it is for other machines; give --hosts.")
    # Mistakes are found before anything is started.
    train_arguments, run = train.with_run(arguments[1:])
    if hosts is None:
        workers = workers or 2
        there, own = [Host("localhost", workers, LOOPBACK)], LOOPBACK
    else:
        there, own = read_hosts(hosts, address)
        there = _fitting(there, workers)
        if own != LOOPBACK or not all(host.here for host in there):
            places = ", ".join(host.address for host in there)
            say(
                f"listening at {places}: whoever can reach these addresses can run programs there, "
                "so use a network of your own",
                err=True,
            )
    port = _free_port(own, port)
    shared = variables(
        sum(host.workers for host in there), servers or len(there), own, port, gradients
    )
    launch(train_arguments, run, there, shared, python or sys.executable)


def variables(
    workers: int, servers: int, address: str, port: int, gradients: str = GRADIENTS[0]
) -> dict[str, str]:
    """What the environment of all processes has to have in common; ``address``: the scheduler's."""
    return {
        "DMLC_PS_ROOT_URI": address,
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_WORKER": str(workers),
        "DMLC_NUM_SERVER": str(servers),
        "AAE_MX_GRADIENTS": gradients,
        # MXNet takes what comes where it listens for commands, and runs them.
        **({"DMLC_NODE_HOST": LOOPBACK, "DMLC_INTERFACE": "lo"} if address == LOOPBACK else {}),
    }


def _fitting(hosts, workers):
    """The hosts for so many workers, from the first on; InputError if they have too few slots."""
    slots = sum(host.workers for host in hosts)
    if workers is None:
        return hosts
    if workers > slots:
        raise InputError(f"{workers} workers, but the hosts have {slots} slots; give more slots=N")
    taken = []
    for host in hosts:
        if workers:
            taken.append(host._replace(workers=min(host.workers, workers)))
            workers -= taken[-1].workers
    return taken


class Started(NamedTuple):
    role: str
    host: Host
    process: subprocess.Popen
    said: Said


def launch(
    arguments: Sequence[str],
    run: Path,
    hosts: list[Host],
    shared: dict[str, str],
    python: str = sys.executable,
) -> None:
    """Run ``train`` with these arguments in the workers of all hosts, until all have ended.

    ``run``: where its run is; ``shared``: see ``variables``. Raises click.ClickException with what
    a process said that failed, once the others have ended; Interrupted after Ctrl-C or SIGTERM,
    once all have saved.
    """
    scheduler = Host("localhost", hosts[0].workers, shared["DMLC_PS_ROOT_URI"])
    servers = [hosts[i % len(hosts)] for i in range(int(shared["DMLC_NUM_SERVER"]))]
    places = [("scheduler", scheduler), *(("server", host) for host in servers)]
    places += [("worker", host) for host in hosts for _ in range(host.workers)]
    said, started, number = Files(run), [], {"server": 0, "worker": 0, "scheduler": 0}
    with _noted_signals() as caught:
        try:
            for role, host in places:
                own = {"DMLC_ROLE": role, "DMLC_TASK_ID": str(number[role])}
                own = {**shared, **own, "DMLC_NODE_HOST": host.address}
                launched = ["-m", "aae_mx.commands.launched", str(host.workers), *arguments]
                line, environment = command_on(host, own, launched, python)
                first = role == "worker" and number[role] == 0
                process = subprocess.Popen(
                    line,
                    env=environment,
                    stdin=subprocess.PIPE,
                    # One shows the progress of all.
                    stdout=None if first else subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    # Ctrl-C is for this process, which tells the others.
                    start_new_session=True,
                )
                out = Said(process.stderr, said, f"{role}-{number[role]}.log", first)
                started.append(Started(role, host, process, out))
                number[role] += 1
            _watch(started, caught)
        finally:
            for one in started:
                if one.process.poll() is None:
                    one.process.kill()
            for one in started:
                # What is not on this machine ends when its input does.
                with suppress(OSError):
                    cast(IO[bytes], one.process.stdin).close()
                one.process.wait()
                one.said.thread.join(GRACE)
            said.write()


def _watch(started, caught):
    """Wait until all workers have ended; raise for what went wrong."""
    workers = [one for one in started if one.role == "worker"]
    told = 0
    while any(one.process.poll() is None for one in workers):
        # The first signal lets them save; with a second, they are killed.
        if len(caught) > 1:
            raise Interrupted(caught[0], "stopped; nothing more was saved")
        if len(caught) > told:
            told = len(caught)
            for one in workers:
                _tell(one, signal.SIGTERM)
        failed = [one for one in started if one.process.poll() not in (None, 0)]
        servers_gone = [one for one in started if one.role != "worker" and one.process.poll() == 0]
        if (failed or servers_gone) and not caught:
            _wait(workers, GRACE)
            if any(one.process.poll() is None for one in workers) or failed:
                raise _error(_telling(failed or servers_gone))
        time.sleep(0.1)
    ended = [one for one in workers if one.process.returncode]
    if caught and ended:
        raise Interrupted(caught[0], _told(_telling(ended)) or "stopped")
    if ended:
        raise _error(_telling(ended))


def _tell(one, number):
    """Send a worker a signal, wherever it is."""
    with suppress(OSError):
        one.process.stdin.write(b"%d\n" % number)
        one.process.stdin.flush()


def _wait(processes, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(one.process.poll() is None for one in processes):
        time.sleep(0.05)


def _telling(ended):
    """Of the processes that ended the first that has said why."""
    return next((one for one in ended if _told(one)), ended[0])


def _told(one):
    """The error that a process that ended has said, or None."""
    one.said.thread.join(GRACE)
    return one.said.error


def _error(one):
    """What to say of a process that ended too early."""
    code = one.process.returncode
    why = _told(one)
    if why is None:
        how = f"by signal {-code}" if code and code < 0 else f"with exit code {code}"
        if code == 255 and not one.host.here:
            how = f"with ssh ({one.said.last or 'it said nothing'})"
        there = "" if one.host.here else f" on {one.host.name}"
        why = (
            f"the training has ended, as a {one.role}{there} did {how}; the last checkpoint is "
            "kept: go on with train --resume and the run's directory"
        )
    error = click.ClickException(why)
    error.exit_code = 2 if code == 2 else 1
    return error


@contextmanager
def _noted_signals():
    """A list that gets the number of each SIGINT and SIGTERM; SIGTERM and Ctrl-C end nothing."""
    caught: list[int] = []
    both = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda number, frame: caught.append(number)) for n in both}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port(address, port):
    """A port of an address that nobody listens on, or this one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port or 0))
        except OSError as error:
            what = f"port {port}" if port else "a port"
            raise InputError(f"{what} of {address} cannot be taken ({error.strerror})") from error
        return probe.getsockname()[1]
