"""Trainings in processes of their own, several at once, under one view of their progress.

joblib says where they run: in threads of this process that wait for a process each, or wherever a
``joblib.parallel_config`` around the call says, as on the hosts of a Dask cluster that share the
file system.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

from aae_mx.errors import AAEError, Interrupted
from aae_mx.hints import Config
from aae_mx.training.progress import ERASE, duration

# Seconds between two looks at the histories of what is being trained.
LOOK_EVERY = 1.0
# What runs in this process's threads, and whether no more are to start.
_running: set[subprocess.Popen] = set()
_lock, _ended = threading.Lock(), threading.Event()


def train_at_once(
    trainings: dict[Path, Config],
    jobs: int,
    threads: int,
    seconds: dict[Path, float],
    tell: Callable[[str], None],
    view: bool = True,
) -> dict[Path, str]:
    """Train each of {directory: Config} to its end, ``jobs`` at once with ``threads`` threads each.

    What is there of a run is gone on with. ``seconds``: what each will take, for the order, the
    longest first, and the time that is left. ``tell`` gets a line for each that is done; ``view``:
    whether a line about all may be kept up to date on a terminal. Returns why the ones that failed
    did, {directory: text}. Raises Interrupted after Ctrl-C or SIGTERM, once all have saved.
    """
    from joblib import Parallel, delayed

    order = sorted(trainings, key=lambda run: -seconds[run])
    work = [delayed(train_apart)(str(run), _settings(trainings[run]), threads) for run in order]
    with Watch(trainings, seconds, tell, view), _stopping():
        told = Parallel(n_jobs=jobs, prefer="threads", batch_size=1)(work)
    return {run: why for run, why in zip(order, told) if why}


def train_apart(run: str, settings: dict[str, Any], threads: int) -> Optional[str]:
    """Train the run in a process of its own; why that failed, or None.

    ``settings``: as in a config.json, for a run that is not there yet.
    """
    from aae_mx.runs.directory import CONFIG

    if _ended.is_set():
        return "it was not begun"
    command = [sys.executable, "-m", "aae_mx.train", "--quiet", "--no-figures"]
    with tempfile.TemporaryDirectory() as aside:
        if Path(run, CONFIG).exists():
            command += ["--resume", run]
        else:
            file = Path(aside, "config.json")
            file.write_text(json.dumps(settings), "utf-8")
            command += ["--config", str(file), "--out", run]
        process = subprocess.Popen(
            command,
            # MXNet takes its threads when it is imported.
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        with _lock:
            _running.add(process)
        try:
            _, told = process.communicate()
        finally:
            with _lock:
                _running.discard(process)
    if not process.returncode:
        return None
    lines = told.decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("Error: ") if lines else f"it ended with {process.returncode}"


def _settings(config):
    return {"config": config.to_dict(), "given": sorted(config.given)}


@contextmanager
def _stopping() -> Iterator[None]:
    """Whatever ends this early, and SIGTERM, too: what is running saves what it has, and ends."""
    _ended.clear()
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if main else None
    try:
        yield
    except BaseException as error:
        number = error.signal if isinstance(error, Interrupted) else signal.SIGINT
        _ended.set()
        with _lock:
            left = list(_running)
        for process in left:
            process.terminate()
        for process in left:
            process.wait()
        if not isinstance(error, (KeyboardInterrupt, Interrupted)):
            raise
        raise Interrupted(
            number, "stopped, and what was trained is saved; the same command goes on from there"
        ) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number, frame):
    raise Interrupted(number, "stopped")


class Watch:
    """Tells of trainings as they end, and on a terminal how far all are, from their histories."""

    def __init__(
        self,
        trainings: dict[Path, Config],
        seconds: dict[Path, float],
        tell: Callable[[str], None],
        view: bool,
    ) -> None:
        self.trainings, self.seconds, self.tell = trainings, seconds, tell
        # There is no terminal if the process was started with it closed.
        self.terminal = bool(view and sys.stderr and sys.stderr.isatty())
        self.start, self.first = time.monotonic(), {run: epochs_of(run) for run in trainings}
        self.done: list[Path] = []
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end.set()
        self.thread.join()
        self.look()
        self._draw("")

    def _look(self):
        while not self.end.wait(LOOK_EVERY):
            self.look()

    def look(self) -> None:
        """Look at the histories once, and tell what has changed."""
        epochs = {run: epochs_of(run) for run in self.trainings}
        for run, config in self.trainings.items():
            if epochs[run] >= config.epochs and run not in self.done:
                self.done.append(run)
                self._draw("")
                n = f"{len(self.done)} of {len(self.trainings)}"
                self.tell(f"{run}: trained, {n}; {self._left(epochs)}")
        at_work = [
            f"{run.name} {epochs[run]}/{config.epochs}"
            for run, config in self.trainings.items()
            if run not in self.done and (run / "history.csv").exists()
        ]
        n = f"{len(self.done)}/{len(self.trainings)} trained"
        self._draw(f"{n}, {self._left(epochs)}: {', '.join(at_work)}")

    def _left(self, epochs):
        """How long the rest will take, as a text: by what was done of the expected time so far."""
        expected = sum(self.seconds.values())
        done = 0.0
        for run, config in self.trainings.items():
            new = config.epochs - self.first[run]
            done += self.seconds[run] * (epochs[run] - self.first[run]) / max(1, new)
        if not done or not expected:
            return "no epoch is done yet"
        return f"{duration((time.monotonic() - self.start) * (expected / done - 1))} left"

    def _draw(self, line):
        if not self.terminal:
            return
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
            sys.stderr.write(ERASE + line[: max(1, columns - 1)])
            sys.stderr.flush()
        except (OSError, ValueError):
            self.terminal = False


def epochs_of(run: Path) -> int:
    """How many epochs the history of a run that may be at work has."""
    from aae_mx.runs.history import read_history

    try:
        return len(read_history(run)["epoch"])
    except (AAEError, KeyError):
        return 0
