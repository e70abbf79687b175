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

from aae_mx import backend
from aae_mx.errors import InputError
from aae_mx.hints import NDArray

# Seconds that a worker waits for the others to be there.
JOIN_WITHIN = 120


class Exchange:
    """One worker among ``n``, of number ``rank``; without others, nothing is exchanged."""

    rank, n = 0, 1

    @property
    def first(self) -> bool:
        """Whether this one writes the run, and shows its progress."""
        return self.rank == 0

    def sum(self, name: str, arrays: Sequence[NDArray]) -> None:
        """Replace each array by the sum over the workers; the ``name`` stands for their shapes."""

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
        self.rank, self.n = self.store.rank, self.store.num_workers
        self.known: set[str] = set()
        # Who ends early, after an error, does not wait for the others.
        self._leave_together(False)

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
