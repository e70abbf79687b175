"""What a training shows: a bar on a terminal or in a notebook, else plain lines, as in the log."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from typing import Any, Iterator, Optional

import click

from aae_mx.errors import InputError
from aae_mx.files import never_through_a_link
from aae_mx.hints import Mode, PathLike
from aae_mx.text import say
from aae_mx.training.notebook import NotebookBar, find_display

# Back to the start of the line, and nothing on it.
ERASE = "\r\x1b[K"


class Progress:
    """Shows and logs the progress of a training of a Mode, in epochs of ``steps`` steps each.

    ``done`` of the epochs were trained before, which need not be a whole number. Without a
    ``log_path`` nothing is logged. Raises InputError if the log cannot be written.
    """

    def __init__(
        self, mode: Mode, steps: int, done: float, quiet: bool, log_path: Optional[PathLike]
    ) -> None:
        self.mode, self.epochs = mode, mode.config.epochs
        self.steps, self.done, self.quiet = steps, done, quiet
        # Names in paths need not be UTF-8.
        text: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
        self.log: Any = None
        try:
            if log_path is not None:
                self.log = open(log_path, "a", opener=never_through_a_link, **text)
        except OSError as error:
            raise InputError(f"{log_path}: cannot be written ({error})") from error
        self.bar: Any = None
        display = None if quiet else find_display()
        self.notebook = display and NotebookBar(display)
        self.start = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._end_bar()
        # What could not be written before cannot be now; that was told then.
        with suppress(OSError):
            if self.log is not None:
                self.log.close()

    def _end_bar(self):
        if self.bar is not None:
            self.bar.render_finish()
            self.bar = None
        if self.notebook is not None:
            self._in_notebook(self.notebook.draw)

    def end(self, text: str) -> None:
        """Log ``text`` and print it below the bar, which ends here."""
        self._end_bar()
        self.line(text)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A context in which others can print: a terminal's bar gives way meanwhile."""
        if self.bar is not None:
            click.echo(ERASE, file=sys.stderr, nl=False)
        try:
            yield
        finally:
            if self.bar is not None:
                # It draws what has changed only.
                self.bar.label += " "
                self.bar.render_progress()

    def _in_notebook(self, draw, *arguments):
        """Draw there; if that fails, plain lines have to do."""
        try:
            draw(*arguments)
        except Exception:  # noqa: B902 - the training is worth more, whatever it is
            self.notebook = None

    def line(self, text: str, hidden: bool = False) -> None:
        """Log ``text``, and print it unless it is ``hidden``, or quiet was asked for or a bar."""
        try:
            if self.log is not None:
                print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=self.log, flush=True)
        except OSError as error:
            raise InputError(f"{self.log.name}: cannot be written ({error})") from error
        if not (hidden or self.quiet) and self.bar is None:
            try:
                say(text)
            except InputError:
                # Nobody can read it, as where a disk is full. The log has it, too.
                self.quiet = True

    def step(self, epoch: int, step: int, means: dict[str, float]) -> None:
        """Move the bar to ``step`` of ``epoch`` and show the metrics' means so far."""
        # There is no terminal if the process was started with it closed.
        terminal = not self.quiet and sys.stderr and sys.stderr.isatty()
        if not (terminal or self.notebook):
            return
        label = f"epoch {epoch}/{self.epochs}"
        losses = (self.mode.bar or "{reconstruction_loss:.3f}").format(**means)
        if self.notebook is not None:
            at = epoch - 1 + step / self.steps
            facts = f"{losses}  {self._left(at)}"
            self._in_notebook(self.notebook.show, label, at / self.epochs, facts)
            return
        if self.bar is None:
            self.bar = click.progressbar(
                length=self.epochs * self.steps, item_show_func=str, file=sys.stderr
            )
        self.bar.label = label
        self.bar.update((epoch - 1) * self.steps + step - self.bar.pos, losses)

    def epoch(self, row: dict[str, float]) -> None:
        """Report a row of the history."""
        validation = ""
        if "validation_error" in row:
            validation = f"  validation {row['validation_error']:.2%} wrong"
        line = self.mode.line or _all(row)
        if "held_out_l2" not in row:
            line = line.replace(", held out {held_out_l2:.3f}", "")
        text = (
            f"epoch {row['epoch']:{len(str(self.epochs))}}/{self.epochs}"
            f"  {line.format(**row)}{validation}"
            f"  {row['seconds']:.1f} s, {self._left(row['epoch'])}"
        )
        if self.notebook is not None:
            self._in_notebook(self.notebook.below, text)
        self.line(text, hidden=self.notebook is not None)

    def _left(self, at):
        """How long it will take after ``at`` epochs, as a text."""
        per_epoch = (time.monotonic() - self.start) / (at - self.done)
        return f"{duration(per_epoch * (self.epochs - at))} left"


def _all(row):
    """A line of all numbers of a row of the history, for a mode that has none of its own."""
    names = [name for name in row if name not in ("epoch", "seconds")]
    return "  ".join(f"{name.replace('_', ' ')} {{{name}:.3f}}" for name in names)


def duration(seconds: float) -> str:
    """``seconds`` as 1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
