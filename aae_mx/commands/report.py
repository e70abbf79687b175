"""``python -m aae_mx.report``: all about a run in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aae_mx.commands.options import (
    command,
    option_overwrite,
    option_place,
    option_run,
    option_seed,
    writable_file,
)
from aae_mx.text import say


@command(name="report", epilog="Example: python -m aae_mx.report runs/swiss_roll_supervised")
@option_run()
@click.option("--out", metavar="FILE.html", help="Where to write it. [default: RUN/report.html]")
@option_place()
@option_seed("Decides prior samples and projections.")
@option_overwrite()
def main(run: Path, out: Any, seed: int, overwrite: bool, **places: Any) -> None:
    """Write one HTML file about a run: settings, curves, figures and numbers.

    It needs no network and no other file. The figures are those of plot, the numbers those of
    evaluate on all held-out images.
    """
    if out is not None:
        out = writable_file(out, [".html"], overwrite)

    from aae_mx.files import write_aside
    from aae_mx.model import load, load_data
    from aae_mx.report.page import page

    model = load(run)
    if out is None:
        out = writable_file(run / "report.html", [".html"], overwrite)
    content = page(model, load_data(model, **places), seed).encode()
    write_aside(out, lambda file: file.write(content))
    say(f"{out}: {len(content) / 1e6:.1f} MB")
