"""``python -m aae_mx.launch``: one training by several processes of this machine."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Optional

import click

from aae_mx.commands.options import command
from aae_mx.errors import InputError, Interrupted
from aae_mx.threads import usable_cores

LOOPBACK = "127.0.0.1"
# MXNet serves as soon as it is imported by a process with such a role, and does not return.
SERVE = "from aae_mx import backend; backend.mx"
# Seconds that others have to end by themselves after one that failed, as with the same mistake.
GRACE = 3.0


@command(
    name="launch", epilog="Example: python -m aae_mx.launch --workers 2 -- train --images photos"
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=2,
    show_default=True,
    help="Processes that share each batch.",
)
@click.option(
    "--servers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that sum the gradients.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Of the scheduler. [default: a free one]"
)
@click.option(
    "--env",
    is_flag=True,
    help="Start nothing; print the variables to set where another program starts the processes.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(
    workers: int, servers: int, port: Optional[int], env: bool, arguments: tuple[str, ...]
) -> None:
    """Train with several processes, each with its share of the cores.

    The result is that of one process but for rounding, except that convolutions normalise over the
    images of each. After -- comes the command train with its options. A run can go on with another
    number of processes, or with one. They trust each other, and listen on this machine only.
    """
    if env:
        for name, value in variables(workers, servers, port or 9091).items():
            click.echo(f"{name}={value}")
        click.echo("DMLC_ROLE=worker  # or server, or scheduler")
        return
    if not arguments or arguments[0] != "train":
        raise click.UsageError("expected the command train after --, as in: -- train --labels.")
    launch(arguments[1:], workers, servers, port)


def variables(workers: int, servers: int, port: int) -> dict[str, str]:
    """What the environment of all processes has to have in common."""
    return {
        "DMLC_PS_ROOT_URI": LOOPBACK,
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_WORKER": str(workers),
        "DMLC_NUM_SERVER": str(servers),
        # Where each of them listens. MXNet takes what comes there for commands, and runs them.
        "DMLC_NODE_HOST": LOOPBACK,
        "DMLC_INTERFACE": "lo",
    }


class Started(NamedTuple):
    role: str
    process: subprocess.Popen
    said: Path


def launch(arguments: Any, workers: int, servers: int, port: Optional[int] = None) -> None:
    """Run ``train`` with these arguments in so many workers, until all have ended.

    Raises InputError for a port that is taken; click.ClickException with what a process said that
    failed, once the others have ended; Interrupted after Ctrl-C or SIGTERM, once all have saved.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(max(1, usable_cores() // workers)),
        **variables(workers, servers, _free_port(port)),
    }
    roles = ["scheduler", *["server"] * servers, *["worker"] * workers]
    train = [sys.executable, "-m", "aae_mx.train", *arguments]
    started: list[Started] = []
    with tempfile.TemporaryDirectory() as aside, _noted_signals() as caught:
        try:
            for number, role in enumerate(roles):
                said = Path(aside, f"{number}-{role}")
                with open(said, "wb") as file:
                    process = subprocess.Popen(
                        train if role == "worker" else [sys.executable, "-c", SERVE],
                        env={**environment, "DMLC_ROLE": role},
                        stdin=subprocess.DEVNULL,
                        stderr=file,
                        # Ctrl-C is for this process, which tells the others.
                        start_new_session=True,
                        preexec_fn=_end_with_parent,
                    )
                started.append(Started(role, process, said))
            _watch(started, caught)
        finally:
            for one in started:
                if one.process.poll() is None:
                    one.process.kill()
                one.process.wait()


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
                if one.process.poll() is None:
                    one.process.terminate()
        failed = [one for one in started if one.process.poll() not in (None, 0)]
        servers_gone = [one for one in started if one.role != "worker" and one.process.poll() == 0]
        if (failed or servers_gone) and not caught:
            _wait(workers, GRACE)
            if any(one.process.poll() is None for one in workers) or failed:
                raise _error((failed or servers_gone)[0])
        time.sleep(0.1)
    ended = [one for one in workers if one.process.returncode]
    if caught and ended:
        raise Interrupted(caught[0], _last_line(ended[0]) or "stopped")
    if ended:
        raise _error(ended[0])


def _wait(processes, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(one.process.poll() is None for one in processes):
        time.sleep(0.05)


def _error(one):
    """What to say of a process that ended too early."""
    code = one.process.returncode
    why = _last_line(one)
    if why is None:
        how = f"by signal {-code}" if code and code < 0 else f"with exit code {code}"
        why = (
            f"the training has ended, as a {one.role} did {how}; the last checkpoint is kept: go "
            "on with train --resume and the run's directory"
        )
    error = click.ClickException(why)
    error.exit_code = 2 if code == 2 else 1
    return error


def _last_line(one):
    """The error that a process has printed, or None."""
    lines = one.said.read_text("utf-8", "replace").strip().splitlines()
    found = [line for line in lines if line.startswith("Error: ")]
    return found[-1].removeprefix("Error: ") if found else None


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


def _free_port(port):
    """A port of the loopback that nobody listens on, or this one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port or 0))
        except OSError as error:
            raise InputError(f"port {port} cannot be taken ({error.strerror})") from error
        return probe.getsockname()[1]


def _end_with_parent():
    """On Linux, end when the process that started this one does, however it does."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (AttributeError, OSError):
        pass
