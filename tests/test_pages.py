import mmap
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from aae_mx import pages

ALLOWED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def huge():
    """Bytes of this process that are in huge pages."""
    return 1024 * int(
        re.search(r"AnonHugePages: +(\d+)", Path("/proc/self/smaps_rollup").read_text())[1]
    )


def linux_from_6_1_can():
    if not (sys.platform.startswith("linux") and ALLOWED.exists()):
        return False
    version = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    return version >= (6, 1) and "[never]" not in ALLOWED.read_text()


needs_linux = pytest.mark.skipif(
    not linux_from_6_1_can(), reason="Linux before 6.1, or without huge pages"
)


def touched(n):
    """An array of so many times HUGE bytes, 7s; NumPy would ask for huge pages itself."""
    memory = mmap.mmap(-1, n * pages.HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    array = np.frombuffer(memory, np.uint8)
    array[:] = 7
    return array


@needs_linux
def test_memory_that_is_there_becomes_huge():
    array = touched(16)
    before = huge()
    pages.make_huge()
    # Its ends are no whole pages.
    assert huge() - before >= 14 * pages.HUGE
    assert (array == 7).all()


@needs_linux
def test_large_memory_is_left_alone(monkeypatch):
    """A user's arrays may be of any size."""
    array = touched(32)
    monkeypatch.setattr(pages, "ROOM", 16 * pages.HUGE)
    before = huge()
    pages.make_huge()
    assert huge() - before <= 16 * pages.HUGE
    assert (array == 7).all()


def test_other_systems_are_left_alone(monkeypatch):
    def refuse(*args):
        raise AssertionError(args)

    monkeypatch.setattr(pages.sys, "platform", "darwin")
    monkeypatch.setattr(pages.ctypes, "CDLL", refuse)
    pages.make_huge()


def test_it_is_a_hint(monkeypatch):
    """Where memory cannot be listed, nothing happens."""

    def refuse(*args):
        raise PermissionError(args)

    monkeypatch.setattr("builtins.open", refuse)
    pages.make_huge()
