"""``python -m aae_mx.encode``: the codes of images, for use elsewhere."""

import click
import numpy as np

from aae_mx.cli import command, option_overwrite, option_run, option_seed, writable_file
from aae_mx.text import say

# Of the originals, as floats; no more are written.
MAX_BYTES = 2**30


@command(
    name="encode",
    epilog="Example: python -m aae_mx.encode runs/swiss_roll_supervised --out codes.npz",
)
@option_run()
@click.option("--out", required=True, metavar="FILE.npz", help="Where to write the arrays.")
@click.option(
    "--split",
    type=click.Choice(["test", "train"]),
    default="test",
    show_default=True,
    help="Which images of the data that the run was trained on.",
)
@option_seed("Decides the prior samples.")
@option_overwrite()
def main(run, out, split, seed, overwrite):
    """Encode images and write the codes, beside as many prior samples, to an npz file.

    Arrays: qz (N, code_dim), the codes; y (N,), the images' labels, if they have any; pz (N,
    code_dim), prior samples; py (N,), the labels of their pieces (not for the Gaussian); x and xr
    (N, pixels), originals and reconstructions in 0-1 (not if they had more than 1 GB each). All
    are float32 but for the int64 labels.
    """
    out = writable_file(out, [".npz"], overwrite)

    from aae_mx.data import load_dataset, to_unit
    from aae_mx.files import write_aside
    from aae_mx.run import load

    model = load(run)
    dataset = load_dataset(model.config)
    images, labels = dataset.split(split)
    codes = model.encode(images)
    prior, pieces = model.sample_prior(len(codes), seed=seed)
    arrays = {
        "qz": codes,
        "pz": prior,
    }
    if model.classes:
        arrays["y"] = labels
    if 4 * images.size <= MAX_BYTES:
        arrays["x"] = to_unit(images)
        arrays["xr"] = model.decode(codes).reshape(len(codes), -1)
    if pieces is not None:
        arrays["py"] = pieces
    write_aside(out, lambda file: np.savez_compressed(file, **arrays))
    say(f"{out}: codes of {len(codes):,} {split} images")


if __name__ == "__main__":
    main()
