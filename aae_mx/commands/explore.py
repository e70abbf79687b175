"""``python -m aae_mx.explore``: the plane of codes as one HTML file to walk around in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

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


@command(name="explore", epilog="Example: python -m aae_mx.explore runs/swiss_roll_supervised")
@option_run()
@click.option("--out", metavar="FILE.html", help="Where to write it. [default: RUN/explore.html]")
@click.option(
    "--grid",
    type=click.IntRange(min=2),
    metavar="N",
    help="Embed N x N decoded images instead of the decoder's weights: the page then blends them. "
    "[default: for decoders that are no plain multi-layer perceptrons, or too large]",
)
@option_place()
@option_seed("Decides the prior samples.")
@option_overwrite()
def main(
    run: Path, out: Any, grid: Optional[int], seed: int, overwrite: bool, **places: Any
) -> None:
    """Write one HTML file in which the plane of codes can be explored, without a network.

    It shows the codes of the held-out images by label before the prior, and decodes the code
    under the pointer. A click on a point shows the image and its reconstruction; dragging from
    one to another plays the interpolation.
    """
    if out is not None:
        out = writable_file(out, [".html"], overwrite)

    from aae_mx.explore.page import page, page_data
    from aae_mx.files import write_aside
    from aae_mx.model import load, load_data

    model = load(run)
    if out is None:
        out = writable_file(run / "explore.html", [".html"], overwrite)
    data = page_data(model, load_data(model, **places), grid, seed)
    content = page(data).encode()
    write_aside(out, lambda file: file.write(content))
    say(f"{out}: {len(content) / 1e6:.1f} MB. {data['how']}")
