"""``python -m aae_mx.export``: a run's encoder and decoder as files that do not need this package.

ONNX files, made by MXNet's own exporter (Apache MXNet 1.9 API, ``mx.onnx``), which knows
operator set 13; and Gluon's own pair of files, which ``SymbolBlock.imports`` loads.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import click
import numpy as np

from aae_mx import __version__
from aae_mx.cli import command, option_overwrite, option_place, option_run
from aae_mx.errors import AAEError, ConfigError, InputError
from aae_mx.text import say

METADATA = "model.json"
FILES = tuple(
    f"{name}{end}"
    for name in ("encoder", "decoder")
    for end in (".onnx", "-symbol.json", "-0000.params")
) + (METADATA,)
# Held-out images on which every file is run, and by how much it may differ from MXNet: of the
# values, or of their size where that is above 1.
N_CHECKED = 1000
TOLERANCE = 1e-5
# What MXNet's exporter writes, and the file format that ONNX had with it.
OPERATOR_SET, IR_VERSION = 13, 7


@command(name="export", epilog="Example: python -m aae_mx.export runs/swiss_roll_supervised")
@option_run()
@click.option("--out", metavar="DIR", help="Where to write the files. [default: RUN/export]")
@option_place()
@option_overwrite()
def main(run, out, images, data_dir, overwrite):
    """Write encoder and decoder for use without this package: as ONNX, and in Gluon's format.

    encoder.onnx takes images (N, pixels), floats in 0-1, to codes (N, code_dim); decoder.onnx
    takes codes to images. The -symbol.json and -0000.params files are the same for
    SymbolBlock.imports of MXNet. model.json, which is also in the metadata of the ONNX files,
    has the prior, the shape of an image and the class names.

    Every file is run on 1,000 held-out images before it gets its name, and must agree with the
    model to 1e-5; values above 1 relatively.
    """
    onnx, _ = _extra()

    from aae_mx.files import check_directory, inside
    from aae_mx.run import load, load_data

    model = load(run)
    out = inside(run, run / "export") if out is None else Path(out)
    check_directory(out)
    there = [name for name in FILES if (out / name).exists()]
    if there and not overwrite:
        raise ConfigError("out", out, f"it holds {there[0]} already; add --overwrite")
    checked = load_data(model, images, data_dir).test_images[:N_CHECKED]
    worst = export(model, checked, out)
    say(
        f"{out}: {', '.join(FILES)}; on {len(checked):,} held-out images they differ from the "
        f"model by at most {worst:.1e}"
    )


def _extra():
    """The modules onnx and onnxruntime. Raises InputError if one is missing."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"ONNX files need the extra 'onnx' ({error}); install it with: "
            "python -m pip install onnx onnxruntime"
        ) from error
    return onnx, onnxruntime


@contextmanager
def _onnx_mapping():
    """Within it there is ``onnx.mapping``, which MXNet's exporter needs and onnx 1.17 dropped."""
    onnx, _ = _extra()
    if importlib.util.find_spec("onnx.mapping"):
        yield
        return
    types = {
        np.dtype(kind): onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    }
    mapping = ModuleType("onnx.mapping")
    mapping.NP_TYPE_TO_TENSOR_TYPE = types
    mapping.TENSOR_TYPE_TO_NP_TYPE = {number: kind for kind, number in types.items()}
    onnx.mapping = mapping
    try:
        yield
    finally:
        del onnx.mapping


def metadata(model):
    """What someone needs to know who has only the files: a dictionary for JSON."""
    config = model.config
    return {
        "made_by": f"aae_mx {__version__}",
        "dataset": os.path.basename(config.place) if config.place else config.dataset,
        "epoch": model.epoch,
        "formulation": config.formulation,
        "prior": config.prior,
        "prior_parameters": config.prior_parameters,
        "code_dim": config.code_dim,
        "image_shape": list(model.image_shape),
        "pixel_range": [0, 1],
        "classes": list(model.classes),
        # Ten as in the post, where images have no labels.
        "prior_pieces": len(model.classes) or 10,
        "encoder": "images, float32 (N, pixels) in pixel_range, an image row by row, to codes, "
        "float32 (N, code_dim)",
        "decoder": "codes, float32 (N, code_dim), to images, float32 (N, pixels) in pixel_range",
    }


def export(model, images, out):
    """Write FILES of a trained model into the directory ``out``, which is made if need be.

    ``images``: held-out ones, uint8 (N, *image_shape), on which each file is run. Returns the
    largest difference from the model. Raises AAEError, with nothing written, if it is above
    TOLERANCE, and InputError if files cannot be written or the extra ``onnx`` is missing.
    """
    from aae_mx.data import to_unit
    from aae_mx.files import make_directory, write_aside

    _extra()
    pixels = to_unit(images)
    codes = model.encode(pixels)
    decoded = model.decode(codes).reshape(len(codes), -1)
    about = metadata(model)
    worst = 0.0
    with tempfile.TemporaryDirectory() as aside:
        aside = Path(aside)
        for name, given, wanted in (("encoder", pixels, codes), ("decoder", codes, decoded)):
            _write_gluon(model, name, aside)
            _write_onnx(name, given.shape[1], wanted.shape[1], about, aside)
            for file, answer in (
                (f"{name}.onnx", _run_onnx(aside / f"{name}.onnx", given)),
                (f"{name}-0000.params", _run_gluon(aside / name, given)),
            ):
                worst = max(worst, _compare(file, answer, wanted))
        (aside / METADATA).write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        make_directory(out)
        for name in FILES:
            content = (aside / name).read_bytes()
            write_aside(out / name, lambda file, content=content: file.write(content))
    return worst


def _compare(file, answer, wanted):
    """The largest difference between two arrays, relative where values are above 1."""
    difference = np.abs(answer - wanted) / np.maximum(1, np.abs(wanted))
    worst = float(difference.max(initial=0))
    # So that a NaN fails too.
    if answer.shape != wanted.shape or not worst <= TOLERANCE:
        raise AAEError(
            f"{file}: what it gives differs from the model by {worst:.1e}, more than "
            f"{TOLERANCE:.0e}; nothing was written"
        )
    return worst


def _names(name):
    """What goes into the encoder or decoder, and what comes out."""
    return ("images", "codes") if name == "encoder" else ("codes", "images")


def _write_gluon(model, name, directory):
    """The pair NAME-symbol.json and NAME-0000.params; images leave the decoder in 0–1."""
    from aae_mx.backend import mx

    network = model.networks[name]
    given, wanted = _names(name)
    last = mx.sym.sigmoid if name == "decoder" else mx.sym.identity
    symbol = last(network(mx.sym.var(given)), name=wanted)
    states = set(symbol.list_auxiliary_states())
    arrays = {
        ("aux:" if key in states else "arg:") + key: parameter.data().as_in_context(mx.cpu())
        for key, parameter in network.collect_params().items()
    }
    symbol.save(str(directory / f"{name}-symbol.json"))
    mx.nd.save(str(directory / f"{name}-0000.params"), arrays)


def _run_gluon(prefix, given):
    from aae_mx.backend import mx

    with warnings.catch_warnings():
        # It warns that it cannot tell the input's type, and then takes float32.
        warnings.simplefilter("ignore", UserWarning)
        network = mx.gluon.SymbolBlock.imports(
            f"{prefix}-symbol.json", [_names(prefix.name)[0]], f"{prefix}-0000.params"
        )
    return network(mx.nd.array(given)).asnumpy()


def _write_onnx(name, n_given, n_wanted, about, directory):
    """NAME.onnx from the Gluon pair, with any number of rows and the metadata ``about``."""
    from aae_mx.backend import mx

    onnx, _ = _extra()
    file = directory / f"{name}.onnx"
    with _onnx_mapping():
        mx.onnx.export_model(
            str(directory / f"{name}-symbol.json"),
            str(directory / f"{name}-0000.params"),
            [(1, n_given)],
            np.float32,
            str(file),
            dynamic=True,
            dynamic_input_shapes=[("N", n_given)],
        )
    made = onnx.load(str(file))
    graph = made.graph
    # The exporter lists the weights as inputs too, leaves the output's shape open, and
    # declares the newest operators of the onnx package, which it does not know.
    _, wanted = _names(name)
    inputs = [value for value in graph.input if value.name == _names(name)[0]]
    output = onnx.helper.make_tensor_value_info(wanted, onnx.TensorProto.FLOAT, ["N", n_wanted])
    nodes, weights = list(graph.node), list(graph.initializer)
    made = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, name, inputs, [output], weights, about[name]),
        opset_imports=[onnx.helper.make_opsetid("", OPERATOR_SET)],
        ir_version=IR_VERSION,
        producer_name="aae_mx",
        producer_version=__version__,
        doc_string=f"The {name} of an adversarial autoencoder. {about[name]}",
    )
    values = {key: v if isinstance(v, str) else json.dumps(v) for key, v in about.items()}
    onnx.helper.set_model_props(made, values)
    onnx.checker.check_model(made, full_check=True)
    file.write_bytes(made.SerializeToString())


def _run_onnx(file, given):
    _, onnxruntime = _extra()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(None, {_names(file.stem)[0]: given})[0]


if __name__ == "__main__":
    main()
