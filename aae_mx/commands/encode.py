"""``python -m aae_mx.encode``: the codes of images, for use elsewhere."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Iterable, Optional, Sequence

import click
import numpy as np

from aae_mx.commands.options import (
    command,
    option_overwrite,
    option_place,
    option_run,
    option_seed,
    writable_file,
)
from aae_mx.errors import ConfigError, option_name
from aae_mx.hints import AAE
from aae_mx.text import printable, say

# Of the originals, as floats; no more are written.
MAX_BYTES = 2**30


@command(
    name="encode",
    epilog="Example: python -m aae_mx.encode runs/swiss_roll_supervised --out codes.npz",
)
@option_run()
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    help="Where to write arrays (.npz), or the codes as a table (.csv).",
)
@click.option(
    "--split",
    type=click.Choice(["test", "train"]),
    help="Which images of the data that the run was trained on. [default: test]",
)
@option_place(
    "Encode all {} there instead, in the run's size and channels; or, with --split, those of the "
    "run, if they have been moved there."
)
@option_seed("Decides the prior samples.")
@option_overwrite()
def main(
    run: Path, out: Any, split: Optional[str], seed: int, overwrite: bool, **places: Any
) -> None:
    """Encode images and write the codes to an npz file, beside as many prior samples, or as CSV.

    Arrays: qz (N, code_dim), the codes; y (N,), the images' labels, if they have any; files (N,),
    their paths, if they are of a folder; of modes that classify, qy (N, kinds),
    probabilities of the kinds; pz (N, code_dim), prior samples; py (N,), the labels of
    their pieces (not for the Gaussian); x and xr (N, pixels), originals and reconstructions in 0-1
    (not if they had more than 1 GB each). All are float32 but for the int64 labels and the texts.
    Other images have labels if their classes are the run's.

    Of rows of features, x and xr are in the units of the data.

    Columns: z0, z1, ..., then label, the class's name, and file, where there are any.
    """
    out = writable_file(out, [".npz", ".csv"], overwrite)

    from aae_mx.data import load_others
    from aae_mx.files import write_arrays, write_aside
    from aae_mx.model import load, load_data

    given = [(name, place) for name, place in places.items() if place is not None]
    if len(given) > 1:
        raise ConfigError(*given[1], f"it cannot be given beside {option_name(given[0][0])}")
    model = load(run)
    if split is None and given:
        what = printable(f"{model.noun} of {given[0][1]}")
        pictures, labels, files = load_others(model, **places)
    else:
        split = split or "test"
        what = f"{split} {model.noun}"
        dataset = load_data(model, **places)
        pictures, labels = dataset.split(split)
        if not len(pictures):
            raise ConfigError("split", split, f"no {model.noun} are held out; take --split train")
        files = dataset.train_files if split == "train" else dataset.test_files
        labels = labels if model.classes else None
    codes = model.encode(pictures)
    if out.suffix == ".csv":
        named = (*model.classes, "")
        # The last for -1, no label.
        names = None if labels is None else [named[label] for label in labels]
        content = table(codes, names, files)
        write_aside(out, lambda file: file.write(content.encode()))
    else:
        arrays = npz_arrays(model, pictures, codes, labels, files, seed)
        write_arrays(out, arrays)
    say(f"{out}: codes of {len(codes):,} {what}")


def table(
    codes: np.ndarray, names: Optional[Sequence[str]] = None, files: Optional[Iterable[str]] = None
) -> str:
    """The codes as CSV, one row for each, with the names of classes and files, if there are any."""
    columns: dict[str, Iterable[str]] = {
        f"z{i}": [f"{value:.9g}" for value in codes[:, i]] for i in range(codes.shape[1])
    }
    if names is not None:
        columns["label"] = names
    if files is not None:
        columns["file"] = map(printable, files)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values()))
    return text.getvalue()


def npz_arrays(
    model: AAE,
    pictures: np.ndarray,
    codes: np.ndarray,
    labels: Optional[np.ndarray],
    files: Optional[np.ndarray],
    seed: int,
) -> dict[str, Any]:
    """What an npz file holds, {name: array}; see ``main``.

    Without reconstructions where the mode has to be told labels that the images do not have.
    """
    prior, pieces = model.sample_prior(len(codes), seed=seed)
    arrays = {"qz": codes, "pz": prior}
    if model.mode.classifies:
        arrays["qy"] = model.classify(pictures)
    if labels is not None:
        arrays["y"] = labels
    if files is not None:
        arrays["files"] = files
    if 4 * pictures.size <= MAX_BYTES:
        flat = pictures.reshape(len(pictures), -1)
        arrays["x"] = model.scale.apply(flat) if model.scale.kind == "pixels" else flat
        if labels is not None or not model.mode.needs_labels:
            arrays["xr"] = model.reconstruct(pictures, labels).reshape(len(codes), -1)
    if pieces is not None:
        arrays["py"] = pieces
    return arrays
