"""What ``python -m aae_mx.launch`` starts on each machine: a worker, a server or the scheduler.

Its input tells it of signals, one number a line, and ends when the launcher has ended, however
that did; then it ends, too. So it is the same on this machine and behind ssh.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from aae_mx.errors import InputError
from aae_mx.text import printable, shortened
from aae_mx.threads import usable_cores


def main() -> None:
    """``argv``: how many workers this machine has, and the arguments of train."""
    workers, *arguments = sys.argv[1:]
    # MXNet takes its threads when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // int(workers))))
    threading.Thread(target=_obey, daemon=True).start()
    if os.environ.get("DMLC_ROLE") == "worker":
        from aae_mx.commands.train import main as train

        train(arguments, prog_name="python -m aae_mx.train")
    else:
        serve()


def serve() -> None:
    """Be the server or the scheduler that DMLC_ROLE says, until the workers have ended.

    Raises InputError for another role.
    """
    from aae_mx import backend

    role = os.environ.get("DMLC_ROLE", "")
    if role not in ("server", "scheduler"):
        raise InputError(
            f"DMLC_ROLE={printable(shortened(role, 50))}: expected server or scheduler; set it so"
        )

    # Where a signal reaches all, the workers save with its help, and end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # MXNet serves as soon as it is imported by a process with such a role, and does not return.
    backend.mx.nd.waitall()


def _obey():
    # Without a buffer, whose lock would be in the way when Python ends.
    while told := os.read(0, 1000):
        for number in told.split():
            os.kill(os.getpid(), int(number))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
