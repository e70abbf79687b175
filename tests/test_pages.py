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


@pytest.mark.skipif(not linux_from_6_1_can(), reason="Linux before 6.1, or without huge pages")
def test_memory_that_is_there_becomes_huge():
    array = np.ones(16 * pages.HUGE // 8)
    array[::512] = 2
    before, expected = huge(), array.copy()
    pages.make_huge()
    # Some of it may have been so already, and its ends are no whole pages.
    assert huge() >= max(before, 14 * pages.HUGE)
    np.testing.assert_array_equal(array, expected)


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
