"""How many threads may compute, and whether other programs want their cores.

Everything is read from files of the system. Where it has none of them, nothing is limited.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Optional

from aae_mx.errors import InputError
from aae_mx.files import megabytes
from aae_mx.hints import PathLike
from aae_mx.text import printable, shortened

# Seconds between two looks at the load of other programs, and how many cores of it make the
# threads change their way of waiting, and change back.
LOOK_EVERY, CROWDED_FROM, CROWDED_TO = 0.25, 0.25, 0.15


# Variables of the environment that say how many threads compute. Of what is no such number the
# libraries make none, so that nothing is computed, or they end the process.
COUNTS = (
    *("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "MXNET_CPU_WORKER_NTHREADS", "OPENBLAS_NUM_THREADS"),
    *("MKL_NUM_THREADS", "MXNET_OMP_MAX_THREADS", "MXNET_CPU_PRIORITY_NTHREADS"),
)
MAX_THREADS = 1024
# Bytes of addresses: its library, its threads and small networks; with less it crashes, somewhere.
LEAST_ROOM = 1.5e9


def check_environment() -> None:
    """Raise InputError for a variable of COUNTS that is no number of threads.

    Or for an address space in which MXNet would crash.
    """
    room, _ = resource.getrlimit(resource.RLIMIT_AS)
    if room != resource.RLIM_INFINITY and room < LEAST_ROOM:
        raise InputError(
            f"programs may use {megabytes(room)} of addresses here (ulimit -v), and MXNet needs "
            f"{megabytes(LEAST_ROOM)}; raise the limit"
        )
    for name in COUNTS:
        text = os.environ.get(name)
        if text is None or (text.isascii() and text.isdigit() and 1 <= len(text) <= 4):
            if text is None or 1 <= int(text) <= MAX_THREADS:
                continue
        raise InputError(
            f"{name}={printable(shortened(text, 50))}: expected a number of threads from 1 to "
            f"{MAX_THREADS}; set it so, or unset it"
        )


def usable_cores(root: PathLike = "/") -> int:
    """How many cores this process can keep busy, at least 1.

    What its processor affinity and the CPU quotas of its containers leave. Of a quota the whole
    cores count: a thread without a core of its own would make all others wait.
    """
    return max(1, min([len(_cpus()), *map(int, cpu_quotas(root))]))


def _cpus():
    """The numbers of the CPUs on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def cpu_quotas(root: PathLike = "/") -> list[float]:
    """The CPU quotas, in cores, of the control groups (Linux, version 1 and 2) of this process."""
    quotas = []
    for line in _read(Path(root, "proc/self/cgroup")).splitlines():
        _, controllers, group = line.split(":", 2)
        files: tuple[str, ...]
        if not controllers:
            mount, files = "sys/fs/cgroup", ("cpu.max",)
        elif "cpu" in controllers.split(","):
            mount, files = "sys/fs/cgroup/cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        else:
            continue
        # Those of the groups around it bind, too. A container may see its own group as the root.
        group = Path(group.lstrip("/"))
        for directory in (group, *group.parents):
            numbers = " ".join(_read(Path(root, mount, directory, file)) for file in files).split()
            # "max", or -1, says that there is none.
            if len(numbers) == 2 and all(map(str.isdigit, numbers)) and int(numbers[1]):
                quotas.append(int(numbers[0]) / int(numbers[1]))
    return quotas


def _read(path):
    try:
        return path.read_text()
    except OSError:
        return ""


class Neighbours:
    """Watches what other programs compute on the cores of this process's ``threads``.

    While a thread of an operator has to wait for a core, the others wait for it: with the other
    program on that core, or, if they do it by looking again and again, against it.
    """

    def __init__(self, threads: int) -> None:
        self.cpus = _cpus()
        self.spare = len(self.cpus) - threads
        self.crowded = False
        self.then = self._now()

    def look(self) -> Optional[bool]:
        """Whether other programs need these cores now; None if the last look was just now."""
        if time.monotonic() - self.then[0] < LOOK_EVERY:
            return None
        now = self._now()
        seconds, own, all_programs = (b - a for a, b in zip(self.then, now))
        self.then = now
        others = (all_programs - own) / seconds
        self.crowded = others > self.spare + (CROWDED_TO if self.crowded else CROWDED_FROM)
        return self.crowded

    def _now(self):
        """Seconds on the clock; that this process has computed; that all have on its CPUs."""
        own = time.process_time()
        ticks = 0
        for line in _read(Path("/proc/stat")).splitlines():
            name, *numbers = line.split()
            if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in self.cpus:
                user, nice, system, _idle, _waiting, *more = map(int, numbers)
                # Interrupts, and what other machines on the same processor took.
                ticks += user + nice + system + sum(more[:3])
        # Where the file is missing, nobody else is seen.
        return time.monotonic(), own, ticks / os.sysconf("SC_CLK_TCK") if ticks else own
