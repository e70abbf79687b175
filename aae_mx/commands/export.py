"""``python -m aae_mx.export``: a run's networks as files that do not need this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aae_mx.commands.options import command, option_overwrite, option_place, option_run
from aae_mx.errors import ConfigError
from aae_mx.text import say


@command(name="export", epilog="Example: python -m aae_mx.export runs/swiss_roll_supervised")
@option_run()
@click.option("--out", metavar="DIR", help="Where to write the files. [default: RUN/export]")
@option_place()
@option_overwrite()
def main(run: Path, out: Any, overwrite: bool, **places: Any) -> None:
    """Write encoder and decoder for use without this package: as ONNX, and in Gluon's format.

    encoder.onnx takes images (N, pixels), floats in 0-1, to codes (N, code_dim); decoder.onnx
    takes codes to images. The -symbol.json and -0000.params files are the same for
    SymbolBlock.imports of MXNet. A mode that classifies has classifier.onnx, images to kinds, and
    its decoder takes both. model.json, which is also in the metadata of the ONNX files,
    has the prior, the shape of an image and the class names.

    Of rows of features, values are as scaled; model.json has the scale.

    Every file is run on 1,000 held-out images before it gets its name, and must agree with the
    model to 1e-5; values above 1 relatively.
    """
    from aae_mx.export import N_CHECKED, export, files, need_onnx
    from aae_mx.files import check_directory, inside
    from aae_mx.model import load, load_data
    from aae_mx.report.exhibits import held_out

    need_onnx()
    model = load(run)
    out = inside(run, run / "export") if out is None else Path(out)
    check_directory(out)
    there = [name for name in files(model) if (out / name).exists()]
    if there and not overwrite:
        raise ConfigError("out", out, f"it holds {there[0]} already; add --overwrite")
    dataset = load_data(model, **places)
    checked, labels, what, _ = held_out(model, dataset, N_CHECKED)
    worst = export(model, checked, out, labels)
    say(
        f"{out}: {', '.join(files(model))}; on {len(checked):,} {what} {model.noun} they differ "
        f"from the model by at most {worst:.1e}"
    )
