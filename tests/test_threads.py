import os
import subprocess
import sys
import time

import pytest

from aae_mx import threads
from aae_mx.threads import Neighbours, cpu_quotas, usable_cores


def system(root, files):
    """A directory that looks like the root of a system with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


CPU = "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("files", "quotas"),
    [
        ({}, []),
        # Version 2: 30% of a core, as a container sees it, and none.
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "30000 100000"}, [0.3]),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, []),
        # A group has none of its own, but one around it has.
        (
            {
                "proc/self/cgroup": "0::/a.slice/b.scope",
                "sys/fs/cgroup/a.slice/b.scope/cpu.max": "max 100000",
                "sys/fs/cgroup/a.slice/cpu.max": "150000 100000",
            },
            [1.5],
        ),
        # Version 1, beside the empty tree of version 2.
        (
            {
                "proc/self/cgroup": "3:memory:/docker/x\n1:cpu,cpuacct:/docker/x\n0::/",
                f"{CPU}/cpu.cfs_quota_us": "250000",
                f"{CPU}/cpu.cfs_period_us": "100000",
            },
            [2.5],
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                f"{CPU}/cpu.cfs_quota_us": "-1",
                f"{CPU}/cpu.cfs_period_us": "100000",
            },
            [],
        ),
        ({"proc/self/cgroup": "1:cpuset:/", f"{CPU}/cpu.cfs_quota_us": "1"}, []),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "30000 0"}, []),
    ],
)
def test_quotas_of_containers(tmp_path, monkeypatch, files, quotas):
    monkeypatch.setattr(threads, "_cpus", lambda: {0, 1, 2, 3})
    root = system(tmp_path, files)
    assert cpu_quotas(root) == quotas
    assert usable_cores(root) == max([1, *map(int, quotas)] if quotas else [4])


def test_the_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "_cpus", lambda: {5})
    root = system(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "800000 100000"})
    assert usable_cores(root) == 1


class Clock:
    """The time, what this process and what all have computed, for Neighbours on CPUs 0 and 1."""

    def __init__(self, monkeypatch):
        self.time = self.own = self.all = 0.0
        monkeypatch.setattr(threads, "_cpus", lambda: {0, 1})
        monkeypatch.setattr(threads.time, "monotonic", lambda: self.time)
        monkeypatch.setattr(threads.time, "process_time", lambda: self.own)
        monkeypatch.setattr(threads, "_read", self.stat)

    def stat(self, path):
        # In hundredths of a second on most systems; a CPU of others comes after the two.
        ticks = round(self.all * os.sysconf("SC_CLK_TCK"))
        return f"cpu  9 9 9 9\ncpu0 {ticks} 0 0 77 8 0 0 0\ncpu1 0 0 0 5 5 0 0 0\ncpu2 99 9\n"

    def passes(self, own, others):
        """One second in which this process and others keep so many cores busy."""
        self.time += 1
        self.own += own
        self.all += own + others


def test_neighbours_are_seen_and_seen_to_go(monkeypatch):
    clock = Clock(monkeypatch)
    neighbours = Neighbours(threads=2)
    assert neighbours.look() is None  # as no time has passed
    for own, others, crowded in (
        (2.0, 0.0, False),
        (1.9, 0.1, False),
        (1.0, 1.0, True),
        (1.0, 0.2, True),  # a little less is not gone
        (1.6, 0.0, False),
        (1.6, 0.2, False),  # a little is not there
    ):
        clock.passes(own, others)
        assert neighbours.look() is crowded, (own, others)
        assert neighbours.look() is None


def test_neighbours_on_cores_to_spare_do_not_count(monkeypatch):
    clock = Clock(monkeypatch)
    neighbours = Neighbours(threads=1)
    clock.passes(1.0, 1.0)
    assert neighbours.look() is False


def test_without_the_file_nobody_is_seen(monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(threads, "_read", lambda path: "")
    neighbours = Neighbours(threads=2)
    clock.passes(2.0, 2.0)
    assert neighbours.look() is False


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="reads /proc/stat")
def test_another_program_is_seen():
    """All CPUs busy with others, as this process waits."""
    count = len(threads._cpus())
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        neighbours = Neighbours(threads=count)
        end = time.monotonic() + 20
        while not neighbours.look():
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        for program in busy:
            program.kill()
            program.wait()
