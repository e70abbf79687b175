"""The machines on which ``python -m aae_mx.launch`` starts processes."""

from __future__ import annotations

import os
import re
import shlex
import socket
import sys
from pathlib import Path
from typing import NamedTuple, Optional

from aae_mx.errors import InputError
from aae_mx.text import printable, shortened

LOOPBACK = "127.0.0.1"
# Never asks for a password, and notices within half a minute that the other side is gone.
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=10")
MAX_WORKERS, MAX_BYTES = 256, 100_000
# Also keeps ssh from taking a name for one of its options.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")


class Host(NamedTuple):
    """A machine: its name for ssh, how many workers it gets, and its IPv4 address."""

    name: str
    workers: int
    address: str

    @property
    def here(self) -> bool:
        """Whether it is this machine, so that ssh is not needed."""
        return self.name in ("localhost", LOOPBACK, socket.gethostname())


def read_hosts(file: Path, address: Optional[str] = None) -> tuple[list[Host], str]:
    """The machines that a file names, and the address of this one for them.

    Each line has a name, and may have ``slots=N`` for N workers there and ``address=A`` for what
    the name does not tell; from # on it is a remark. ``address``: this machine's, else that of the
    interface that leads to the first of the others. Raises InputError for a file or a line that
    cannot be used.
    """
    try:
        with open(file, encoding="utf-8") as stream:
            lines = stream.read(MAX_BYTES).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: no hosts can be read from it ({error})") from error
    hosts = []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if words:
            hosts.append(_host(words, f"{file}, line {number}"))
    if not hosts:
        raise InputError(f"{file}: no host is in it; expected lines as: node1 slots=2")
    if len({host.name for host in hosts}) < len(hosts):
        raise InputError(f"{file}: a host is in it twice; give it more workers with slots=N")
    others = [host for host in hosts if not host.here]
    if address is None:
        address = _own_address(others[0].address) if others else LOOPBACK
    return [host._replace(address=address) if host.here else host for host in hosts], address


def _host(words, where):
    name, *rest = words
    told = dict(word.partition("=")[::2] for word in rest)
    slots = told.pop("slots", "1")
    address = told.pop("address", name.split("@")[-1])
    wrong = printable(shortened(" ".join(words), 100))
    if told or not NAME.fullmatch(name):
        raise InputError(f"{where}: {wrong}: expected NAME [slots=N] [address=A]")
    if not (slots.isascii() and slots.isdigit() and 1 <= int(slots[:4]) <= MAX_WORKERS):
        raise InputError(f"{where}: {wrong}: expected slots from 1 to {MAX_WORKERS}")
    host = Host(name, int(slots[:4]), address)
    if host.here:
        return host
    try:
        return host._replace(address=socket.gethostbyname(address))
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"{where}: no IPv4 address is known of {printable(address)}; give one with address=A"
        ) from error


def _own_address(other):
    """The address of the interface that leads to another machine; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((other, 9))
        except OSError as error:
            raise InputError(f"no network leads to {other} ({error.strerror})") from error
        return probe.getsockname()[0]


def command(
    host: Host, variables: dict[str, str], arguments: list[str], python: str
) -> tuple[list[str], dict[str, str]]:
    """What to run for a Python with these arguments on a machine, and its environment here."""
    if host.here:
        return [sys.executable, *arguments], {**os.environ, **variables}
    there = [f"{name}={value}" for name, value in variables.items()]
    line = " ".join(map(shlex.quote, ["env", *there, python, *arguments]))
    return [*SSH, host.name, f"cd {shlex.quote(os.getcwd())} && exec {line}"], dict(os.environ)
