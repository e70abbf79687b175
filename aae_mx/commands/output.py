"""What the processes of one training say: into files of its run, and what concerns all is shown."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

from aae_mx.errors import InputError
from aae_mx.files import never_through_a_link
from aae_mx.text import say

# The folder of a run for the files.
SAID = "workers"
# Lines that are kept until the run is there.
MAX_LINES = 1000
# What MXNet says before it ends a process; it, and what follows, is for the file alone.
OF_MXNET = ("[", "terminate called", "Fatal", "Segmentation", "Stack trace", "Traceback")


class Files:
    """Files in a run's directory for what each process says, once that directory is there."""

    def __init__(self, run: Path) -> None:
        self.run, self.lock = run, threading.Lock()
        self.waiting: list[tuple[str, str]] = []

    def add(self, name: str, line: str) -> None:
        with self.lock:
            self.waiting = [*self.waiting, (name, line)][-MAX_LINES:]
        self.write()

    def write(self) -> None:
        with self.lock:
            # Before it is described, the directory of a new run has to stay empty.
            if not self.waiting or not (self.run / "config.json").exists():
                return
            waiting, self.waiting = self.waiting, []
            for name, line in waiting:
                # What cannot be written is lost: the training does not depend on it.
                with suppress(OSError, InputError):
                    self._append(name, line)

    def _append(self, name, line):
        directory = self.run / SAID
        if directory.is_symlink():
            return
        directory.mkdir(exist_ok=True)
        file = directory / name
        with open(file, "a", encoding="utf-8", opener=never_through_a_link) as stream:
            stream.write(line + "\n")


class Said:
    """What a process says on stderr, read in a thread: for its file, and the last error."""

    def __init__(self, stream: Any, files: Files, name: str, shown: bool) -> None:
        self.stream, self.files, self.name, self.shown = stream, files, name, shown
        self.error: Optional[str] = None
        self.last = ""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.stream:
            text = line.decode("utf-8", "replace").rstrip()
            self.files.add(self.name, text)
            self.last = text or self.last
            if text.startswith("Error: "):
                self.error = text[len("Error: ") :]
            elif text.startswith(OF_MXNET):
                self.shown = False
            elif self.shown:
                say(text, err=True)
