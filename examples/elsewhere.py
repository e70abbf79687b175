"""A trained run without this package and without MXNet: onnxruntime and NumPy are all it takes.

    python -m aae_mx.export runs/swiss_roll_supervised
    python examples/elsewhere.py runs/swiss_roll_supervised/export --out elsewhere

A second or two. Draws 100 codes from the prior, decodes them into the picture elsewhere.pgm (.ppm
for colour), encodes these images again, and prints how far from where they came from they land.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime


def main(directory, out="elsewhere", n=100, seed=0):
    encoder = onnxruntime.InferenceSession(str(Path(directory, "encoder.onnx")))
    decoder = onnxruntime.InferenceSession(str(Path(directory, "decoder.onnx")))
    about = decoder.get_modelmeta().custom_metadata_map
    about = {key: json.loads(about[key]) if key in JSON else about[key] for key in about}

    # With labels, a column of the picture for every class, or for every cluster that was found.
    kinds = about.get("kinds", about["classes"])
    labels = np.arange(n) % (len(kinds) or about["prior_pieces"])
    with_pieces = about.get("formulation") not in (None, "unsupervised")
    codes = draw_prior(about, n, np.random.default_rng(seed), labels if with_pieces else None)
    if "heads" in about:
        # In the mode reduction, styles lie around the heads of the kinds.
        codes = codes + np.array(about["heads"], np.float32)[labels]
    given = {"codes": codes}
    if len(decoder.get_inputs()) == 2:
        # The decoder of some modes takes the kind beside the style.
        given["kinds"] = np.eye(len(kinds), dtype=np.float32)[labels]
    (images,) = decoder.run(["images"], given)
    (again,) = encoder.run(["codes"], {"images": images})

    file = write_picture(Path(out), images.reshape(n, *about["image_shape"]), columns=10)
    distance = np.linalg.norm(again - codes, axis=1)
    print(f"{file}: {n} samples of {about['prior']}")
    print(f"encoded again, they lie {np.median(distance):.3f} from where they came from (median)")
    return codes, images, again


# The entries of the metadata that are no plain texts.
JSON = (
    *("prior_parameters", "prior_pieces", "code_dim"),
    *("image_shape", "pixel_range", "classes", "kinds", "heads", "epoch"),
)


def draw_prior(about, n, rng, labels=None):
    """Codes (n, code_dim) of the prior that the metadata names, in the pieces of ``labels``."""
    prior, settings, pieces = about["prior"], about["prior_parameters"], about["prior_pieces"]
    code_dim = about["code_dim"]
    if prior == "gaussian":
        return (settings["std"] * rng.standard_normal((n, code_dim))).astype(np.float32)
    # The last of an odd number of dimensions is the first of one more pair.
    pairs = -(-code_dim // 2)
    if labels is None:
        labels = rng.integers(pieces, size=n)
    label = np.asarray(labels)[:, None]
    if prior == "gaussian_mixture":
        along = settings["shift"] + settings["std_x"] * rng.standard_normal((n, pairs))
        across = settings["std_y"] * rng.standard_normal((n, pairs))
        turn = 2 * np.pi * label / pieces
        x = along * np.cos(turn) - across * np.sin(turn)
        y = along * np.sin(turn) + across * np.cos(turn)
    elif prior == "swiss_roll":
        root = np.sqrt((label + rng.random((n, pairs))) / pieces)
        angle = 2 * np.pi * settings["turns"] * root
        x, y = (settings["radius"] * root * wave(angle) for wave in (np.cos, np.sin))
    elif prior == "uniform":
        cells = int(np.ceil(np.sqrt(pieces)))
        side = 2 * settings["extent"] / cells
        x = side * (label % cells + rng.random((n, pairs))) - settings["extent"]
        y = side * (label // cells + rng.random((n, pairs))) - settings["extent"]
    else:
        raise SystemExit(f"prior {prior!r}: this example knows the four of aae_mx")
    return np.stack([x, y], axis=2).reshape(n, 2 * pairs)[:, :code_dim].astype(np.float32)


def write_picture(path, images, columns):
    """A sheet of images in 0–1 as a PGM (grey) or PPM (colour) file, which needs no library."""
    n, height, width = images.shape[:3]
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, *images.shape[1:]))
    sheet[:n] = images
    sheet = sheet.reshape(rows, columns, *images.shape[1:]).swapaxes(1, 2)
    sheet = sheet.reshape(rows * height, columns * width, *images.shape[3:])
    magic, end = ("P6", ".ppm") if sheet.ndim == 3 else ("P5", ".pgm")
    header = f"{magic} {sheet.shape[1]} {sheet.shape[0]} 255\n"
    path = path.with_suffix(end)
    path.write_bytes(header.encode() + np.rint(255 * sheet).astype(np.uint8).tobytes())
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", nargs="?", default="runs/swiss_roll_supervised/export")
    parser.add_argument("--out", default="elsewhere", help="the picture, without its ending")
    options = parser.parse_args()
    if not Path(options.directory, "encoder.onnx").exists():
        parser.error(f"{options.directory}: no encoder.onnx there; make it with aae_mx.export")
    main(**vars(options))
