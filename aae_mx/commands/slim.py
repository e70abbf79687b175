"""``python -m aae_mx.slim``: what only a training needs goes from a run, to save room."""

from __future__ import annotations

from pathlib import Path

import click

from aae_mx.commands.options import command, option_run
from aae_mx.errors import InputError
from aae_mx.files import megabytes
from aae_mx.hints import PathLike
from aae_mx.text import say


@command(name="slim", epilog="Example: python -m aae_mx.slim runs/swiss_roll_supervised")
@option_run()
@click.option(
    "--force",
    is_flag=True,
    help="Of a run that has epochs left, too; they can then not be trained. [default: refuse it]",
)
def main(run: Path, force: bool) -> None:
    """Remove the optimizer states and the older checkpoints of a run that is finished.

    Then it takes a third of the room of one checkpoint, or less. It can be used as before, but
    neither resumed nor extended.
    """
    before, after = slim(run, force)
    say(f"{run}: checkpoints of {megabytes(before)} before, {megabytes(after)} now")


def slim(path: PathLike, force: bool = False) -> tuple[int, int]:
    """Make the run in the directory ``path`` slim; returns its checkpoints' bytes before and after.

    The last checkpoint is replaced by one without optimizer states, then those before it are
    removed, so that there is a whole one at any moment. Raises InputError for a run that is
    unfinished, unless ``force``, that has no whole checkpoint, or where a process is training.
    """
    from aae_mx.model import read_run
    from aae_mx.runs.directory import Run, go_on_with, read_description

    # Before a lock is left in a directory that is no run's.
    read_description(path)
    with Run.reopen(path, keep=1) as run:
        found = read_run(path, {"ctx": "cpu"})
        position = found.position
        if position is None:
            raise InputError(f"{path}: the run has no checkpoint, so there is nothing to make slim")
        epochs = found.model.config.epochs
        if position.epoch < epochs and not force:
            raise InputError(
                f"{path}: it has finished {position.epoch} of {epochs} epochs, and could not go on "
                f"afterwards; add --force, or finish it: {go_on_with(path)}"
            )
        before = _size(path)
        run.save(position, found.model.weights())
        return before, _size(path)


def _size(path):
    from aae_mx.runs.checkpoint import checkpoints

    return sum(file.stat().st_size for file in checkpoints(path))
