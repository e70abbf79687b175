"""Signals that stop a training, once the batch is done."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import Any, Iterator


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that gets the number of the first SIGINT or SIGTERM; a second one acts as usual."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        # Signals reach the main thread only.
        yield caught
        return
    before: dict[int, Any] = {}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number, frame):
        caught.append(number)
        restore()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        restore()
