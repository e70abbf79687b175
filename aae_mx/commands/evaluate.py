"""``python -m aae_mx.evaluate``: how good runs are, in numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

import click

from aae_mx.commands.options import (
    command,
    option_overwrite,
    option_place,
    option_seed,
    progress_to,
    writable_file,
)
from aae_mx.text import say


class NumberOrFolder(click.ParamType):
    """A whole number of images, at least 2, or the name of a folder that is none."""

    name = "images"

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> Any:
        number = value.lstrip("-").isdigit()
        return click.IntRange(min=2).convert(value, param, ctx) if number else value


@command(
    name="evaluate",
    epilog="Example: python -m aae_mx.evaluate runs/swiss_roll_supervised --json results.json",
)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN...")
@click.option("--compare", is_flag=True, help="Show several runs side by side.")
@click.option("--json", "out", metavar="FILE.json", help="Write the numbers there; - prints them.")
@option_place(
    type=NumberOrFolder(),
    multiple=True,
    metavar="N|DIR",
    help="Only the first so many held-out images [default: all]; or where the run's pictures are "
    "now, if they have been moved. Can be given twice, for both.",
)
@click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    default="test",
    show_default=True,
    help="The held-out images, or those that --validation kept out of the training: for choices, "
    "which the held-out images must not decide.",
)
@click.option(
    "--likelihood",
    is_flag=True,
    help="Also the log-density of the held-out images under a Parzen window of samples (paper, "
    "section 3).",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="For --likelihood: how many samples. [default: 10000]",
)
@option_seed("Decides prior samples and projections.")
@option_overwrite()
def main(
    runs: tuple[Path, ...],
    compare: bool,
    out: Any,
    images: tuple[Any, ...],
    split: str,
    likelihood: bool,
    samples: Optional[int],
    seed: int,
    overwrite: bool,
    **places: Any,
) -> None:
    """Measure runs on held-out images: match of q(z) to p(z), labels, reconstruction, samples.

    The column "ideal" has what a perfect model would reach: the prior against itself, and for
    samples real images instead; with --compare, each run has its own unless they are equal.
    Definitions and sources: aae_mx/report/metrics.py.
    """
    if samples is not None and not likelihood:
        raise click.UsageError("--samples: it is for --likelihood; add that.")
    samples = samples or 10_000
    if out not in (None, "-"):
        out = writable_file(out, [".json"], overwrite, "json")

    from aae_mx.files import write_aside
    from aae_mx.model import load, load_data
    from aae_mx.report.evaluate import evaluate, table
    from aae_mx.report.likelihood import likelihood as measure_likelihood

    n = next((given for given in reversed(images) if isinstance(given, int)), None)
    folder = next((given for given in reversed(images) if isinstance(given, str)), None)
    results: list[dict[str, Any]] = []

    def text():
        return json.dumps({"runs": results}, indent=2) + "\n"

    # All of them first: to measure one takes long, and the last may be no run.
    for run, model in [(run, load(run)) for run in runs]:
        dataset = load_data(model, images=folder, **places)
        result = {
            "run": str(run),
            "config": model.config.to_dict(),
            "epoch": model.epoch,
            "seed": seed,
            **evaluate(model, n, seed, dataset, split=split),
        }
        if likelihood:
            with progress_to(samples, "samples") as progress:
                found = measure_likelihood(model, dataset, samples, n, seed, progress, split)
            result["likelihood"] = found
        results.append(result)
        # Before anything is shown: what was measured stays, whatever happens to the rest.
        if out not in (None, "-"):
            write_aside(out, lambda file: file.write(text().encode()))
        if out != "-" and not compare:
            say(table([result]))
    if out == "-":
        say(text().rstrip())
    elif compare:
        say(table(results))
