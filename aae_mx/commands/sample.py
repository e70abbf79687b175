"""``python -m aae_mx.sample``: new images from prior samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import click

from aae_mx.commands.options import (
    command,
    option_overwrite,
    option_run,
    option_seed,
    writable_file,
)
from aae_mx.errors import ConfigError
from aae_mx.text import say


@command(
    name="sample",
    epilog="Example: python -m aae_mx.sample runs/swiss_roll_supervised -n 64 --label 3",
)
@option_run()
@click.option(
    "-n",
    "number",
    type=click.IntRange(1, 1_000_000),
    default=64,
    show_default=True,
    help="Number of images.",
)
@click.option(
    "--out",
    default="samples.png",
    show_default=True,
    metavar="FILE",
    help="A sheet of images (.png), or arrays z, images in 0-1 and labels (.npz).",
)
@click.option("--label", metavar="CLASS", help="Only of this class; for runs with labels.")
@option_seed("Decides the prior samples.")
@option_overwrite()
def main(
    run: Path, number: int, out: Any, label: Optional[str], seed: int, overwrite: bool
) -> None:
    """Draw codes from the prior and decode them to new images."""
    out = writable_file(out, [".png", ".npz"], overwrite)
    if out.suffix == ".png" and number > 10_000:
        raise ConfigError("out", out, f"{number} do not fit on a sheet; write an .npz file")

    from aae_mx.files import write_arrays
    from aae_mx.model import load
    from aae_mx.report import plotting
    from aae_mx.report.figures import saved

    model = load(run)
    kinds = model.mode.kinds
    if label is not None and label not in kinds:
        raise ConfigError("label", label, f"expected one of {', '.join(kinds)}")
    labels = None if label is None else kinds.index(label)
    codes, pieces = model.sample_prior(number, labels, seed)
    images = model.decode_samples(codes, pieces)
    if out.suffix == ".png":
        with saved(out, height=plotting.sheet_height(number)) as axes:
            plotting.show_images(images, ax=axes)
    else:
        arrays: dict[str, Any] = {"z": codes, "images": images}
        if pieces is not None:
            arrays["labels"] = pieces
        write_arrays(out, arrays)
    say(f"{out}: {number:,} samples of {model.config.prior}")
