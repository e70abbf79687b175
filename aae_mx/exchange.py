"""Sums over the processes of one training, its workers, through MXNet's parameter server.

Every worker draws the same epoch and takes every n-th image of each batch; gradients are summed,
so that all take the steps that one process with whole batches would take. The variables DMLC_* of
the environment say whether there are others; ``python -m aae_mx.launch`` sets them.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import threading
from typing import Any, Optional, Sequence

import numpy as np

from aae_mx import __version__, backend
from aae_mx.errors import InputError
from aae_mx.hints import NDArray
from aae_mx.text import printable, shortened

# Seconds that a worker waits for the others to be there.
JOIN_WITHIN = 120
# How gradients can be sent: AAE_MX_GRADIENTS in the environment.
GRADIENTS = ("float32", "float16")
# Of float16, the numbers from 6e-8 to 65504 are to be those from 6e-11 to 64 of a gradient.
TIMES = 1024.0


class Exchange:
    """One worker among ``n``, of number ``rank``; without others, nothing is exchanged."""

    rank, n = 0, 1

    @property
    def first(self) -> bool:
        """Whether this one writes the run, and shows its progress."""
        return self.rank == 0

    def sum(self, name: str, arrays: Sequence[NDArray]) -> None:
        """Replace each array by the sum over the workers; the ``name`` stands for their shapes."""

    def sum_gradients(self, name: str, arrays: Sequence[NDArray]) -> None:
        """The same, in the precision that was asked for."""
        self.sum(name, arrays)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any worker."""
        return flag

    def agree(self, what: str, text: str) -> None:
        """Raise InputError unless all workers have the same text."""

    def end(self) -> None:
        """All have done what they had to, and leave together."""


class Workers(Exchange):
    """Several; made once in a process, as a second store would wait for ever."""

    def __init__(self) -> None:
        wanted = os.environ.get("DMLC_NUM_WORKER", "?")
        late = threading.Timer(JOIN_WITHIN, _give_up, [wanted])
        late.daemon = True
        late.start()
        self.store = backend.mx.kv.create("dist_sync")
        late.cancel()
        self.n = self.store.num_workers
        # The store's own number says nothing of the machine, and the first worker writes the run.
        number = os.environ.get("DMLC_TASK_ID", str(self.store.rank))
        self.rank = int(number[:6]) if number.isascii() and number.isdigit() else -1
        self.gradients = os.environ.get("AAE_MX_GRADIENTS", GRADIENTS[0])
        self.known: set[str] = set()
        # Who ends early, after an error, does not wait for the others.
        self._leave_together(False)
        self._check(number)

    def _check(self, number):
        if self.gradients not in GRADIENTS:
            raise InputError(
                f"AAE_MX_GRADIENTS={shortened(printable(self.gradients), 50)}: expected one of "
                f"{', '.join(GRADIENTS)}"
            )
        there = np.zeros(self.n, np.float32)
        if 0 <= self.rank < self.n:
            there[self.rank] = 1
        if not np.array_equal(self.sums("numbers", there), np.ones(self.n)):
            raise InputError(
                f"DMLC_TASK_ID={shortened(printable(number), 50)}: each of the {self.n} workers "
                f"needs a number of its own, from 0 to {self.n - 1}"
            )
        self.agree("version of aae_mx", __version__)
        self.agree("AAE_MX_GRADIENTS", self.gradients)

    def _leave_together(self, together):
        base = backend.mx.base
        base.check_call(
            base._LIB.MXKVStoreSetBarrierBeforeExit(self.store.handle, ctypes.c_int(together))
        )

    def end(self) -> None:
        self._leave_together(True)

    def sum(self, name: str, arrays: Sequence[NDArray]) -> None:
        keys = [f"{name}/{i}" for i in range(len(arrays))]
        if name not in self.known:
            self.known.add(name)
            self.store.init(keys, [backend.mx.nd.zeros_like(array) for array in arrays])
        # Without an optimizer of its own the server gives back the sum of what it was sent.
        self.store.push(keys, list(arrays))
        self.store.pull(keys, out=list(arrays))

    def sum_gradients(self, name: str, arrays: Sequence[NDArray]) -> None:
        if self.gradients == "float32":
            self.sum(name, arrays)
            return
        # An optimizer clips their sum to less by default, so this changes only what has diverged.
        most = 0.99 * np.finfo(np.float16).max / self.n
        sent = [
            backend.mx.nd.clip(TIMES * array, -most, most).astype("float16") for array in arrays
        ]
        self.sum(f"float16 {name}", sent)
        for array, part in zip(arrays, sent):
            array[:] = part.astype("float32") / TIMES

    def sums(self, name: str, numbers: Any) -> np.ndarray:
        """The sums of a few numbers, float32."""
        array = backend.mx.nd.array(np.asarray(numbers, np.float32))
        self.sum(name, [array])
        return array.asnumpy()

    def any(self, flag: bool) -> bool:
        return bool(self.sums("any", [flag])[0])

    def agree(self, what: str, text: str) -> None:
        # Numbers of 16 bits, whose sums are exact. Whose own is not the mean sees it; that others
        # do not is no matter, as all end with the first that does.
        own = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint16).astype(np.float32)
        if not np.array_equal(self.sums("agree", own), self.n * own):
            raise InputError(
                f"the {self.n} workers do not have the same {what}; start all of them with the "
                "same version, command and data"
            )


def _give_up(wanted):
    where = f"{os.environ.get('DMLC_PS_ROOT_URI')}:{os.environ.get('DMLC_PS_ROOT_PORT')}"
    print(
        f"Error: not all of the {wanted} workers, the servers and the scheduler at {where} were "
        f"there within {JOIN_WITHIN} s; see that all were started, with the same DMLC_*",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


_there: Optional[Exchange] = None


def of_environment() -> Any:
    """The Exchange of this process: Workers where DMLC_ROLE says so, else one without others."""
    global _there
    if _there is None:
        _there = Workers() if os.environ.get("DMLC_ROLE") == "worker" else Exchange()
    return _there
