"""What a training shows: a bar on a terminal, plain lines elsewhere; the log gets the lines."""

import sys
import time
from contextlib import suppress

import click

from aae_mx.errors import InputError
from aae_mx.files import never_through_a_link
from aae_mx.text import say


class Progress:
    """Shows and logs the progress of a training of a Mode, in epochs of ``steps`` steps each.

    ``done`` of the epochs were trained before. Raises InputError if the log cannot be written.
    """

    def __init__(self, mode, steps, done, quiet, log_path):
        self.mode, self.epochs = mode, mode.config.epochs
        self.steps, self.done, self.quiet = steps, done, quiet
        # Names in paths need not be UTF-8.
        text = {"encoding": "utf-8", "errors": "backslashreplace"}
        try:
            self.log = open(log_path, "a", opener=never_through_a_link, **text)
        except OSError as error:
            raise InputError(f"{log_path}: cannot be written ({error})") from error
        self.bar = None
        self.start = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.render_finish()
        # What could not be written before cannot be now; that was told then.
        with suppress(OSError):
            self.log.close()

    def line(self, text):
        """Log ``text``, and print it unless there is a bar or quiet was asked for."""
        try:
            print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=self.log, flush=True)
        except OSError as error:
            raise InputError(f"{self.log.name}: cannot be written ({error})") from error
        if not self.quiet and self.bar is None:
            try:
                say(text)
            except InputError:
                # Nobody can read it, as where a disk is full. The log has it, too.
                self.quiet = True

    def step(self, epoch, step, means):
        """Move the bar to ``step`` of ``epoch`` and show the metrics' means so far."""
        # There is none if the process was started with it closed.
        if self.quiet or not (sys.stderr and sys.stderr.isatty()):
            return
        if self.bar is None:
            self.bar = click.progressbar(
                length=self.epochs * self.steps, item_show_func=str, file=sys.stderr
            )
        self.bar.label = f"epoch {epoch}/{self.epochs}"
        losses = (self.mode.bar or "{reconstruction_loss:.3f}").format(**means)
        self.bar.update((epoch - 1) * self.steps + step - self.bar.pos, losses)

    def epoch(self, row):
        """Report a row of the history."""
        per_epoch = (time.monotonic() - self.start) / (row["epoch"] - self.done)
        left = per_epoch * (self.epochs - row["epoch"])
        validation = ""
        if "validation_error" in row:
            validation = f"  validation {row['validation_error']:.2%} wrong"
        line = self.mode.line or _all(row)
        if "held_out_l2" not in row:
            line = line.replace(", held out {held_out_l2:.3f}", "")
        self.line(
            f"epoch {row['epoch']:{len(str(self.epochs))}}/{self.epochs}"
            f"  {line.format(**row)}{validation}"
            f"  {row['seconds']:.1f} s, {duration(left)} left"
        )


def _all(row):
    """A line of all numbers of a row of the history, for a mode that has none of its own."""
    names = [name for name in row if name not in ("epoch", "seconds")]
    return "  ".join(f"{name.replace('_', ' ')} {{{name}:.3f}}" for name in names)


def duration(seconds):
    """``seconds`` as 1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
