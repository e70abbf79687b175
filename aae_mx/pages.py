"""Memory in pages of 2 MB, which Linux gives to a program that asks.

A training goes through tens of megabytes in every step. With pages of 4 kB the processor looks up
where they are thousands of times.
"""

from __future__ import annotations

import ctypes
import sys

# Of x86-64; where pages are larger, Linux refuses the parts that do not fit.
HUGE = 2**21
# So many bytes at most, the smallest mappings first: a gigabyte takes two seconds, and large arrays
# of a user's program are left alone.
ROOM = 2**30
# Linux' numbers: pages may be huge, and (since 6.1) those that are there become huge now.
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25


def make_huge() -> None:
    """Make the pages of the memory that this process has by now huge, up to ROOM, where Linux can.

    The results of a training do not depend on it.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    try:
        with open("/proc/self/maps") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    spans = [span for line in lines for span in _whole_pages(line)]
    room = ROOM
    for start, end in sorted(spans, key=lambda span: span[1] - span[0]):
        room -= end - start
        if room < 0:
            break
        # It is a hint: what cannot be stays as it is.
        libc.madvise(start, end - start, MADV_HUGEPAGE)
        libc.madvise(start, end - start, MADV_COLLAPSE)


def _whole_pages(line):
    """Of a line of /proc/self/maps: where huge pages may be, as a list of one (start, end)."""
    place, rights, *_, last = line.split()
    # Memory of its own has no name, and its last column is the number 0 of a file.
    if rights != "rw-p" or last != "0":
        return []
    start, end = (int(address, 16) for address in place.split("-"))
    start, end = -(-start // HUGE) * HUGE, end // HUGE * HUGE
    return [(start, end)] if start < end else []
