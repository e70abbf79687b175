"""A model's networks as files that do not need this package.

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
from typing import Any, Optional

import numpy as np

from aae_mx import __version__
from aae_mx.errors import AAEError, InputError
from aae_mx.hints import AAE

METADATA = "model.json"
# Held-out images on which every file is run, and by how much it may differ from MXNet: of the
# values, or of their size where that is above 1.
N_CHECKED = 1000
TOLERANCE = 1e-5
# What MXNet's exporter writes, and the file format that ONNX had with it.
OPERATOR_SET, IR_VERSION = 13, 7


def need_onnx() -> tuple[ModuleType, ModuleType]:
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
    onnx, _ = need_onnx()
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


def files(model: AAE) -> list[str]:
    """The names of the files that ``export`` writes."""
    ends = (".onnx", "-symbol.json", "-0000.params")
    return [*(name + end for name in model.mode.exports() for end in ends), METADATA]


def metadata(model: AAE) -> dict[str, Any]:
    """What someone needs to know who has only the files: a dictionary for JSON."""
    config, prior = model.config, model.config.prior_object
    about = {
        "made_by": f"aae_mx {__version__}",
        "dataset": os.path.basename(config.place) if config.place else config.dataset,
        "epoch": model.epoch,
        **model.mode.about(),
        "prior": config.prior,
        "prior_parameters": {name: getattr(prior, name) for name in type(prior).settings()},
        "code_dim": model.code_dim,
        "image_shape": list(model.image_shape),
        **_values(model),
        "classes": list(model.classes),
        "kinds": list(model.mode.kinds),
        # Ten as in the post, where images have no labels.
        "prior_pieces": len(model.classes) or 10,
    }
    what = {
        "images": "images, float32 (N, pixels) in pixel_range, an image row by row"
        if "scale" not in about
        else "values, float32 (N, values), as scaled: (x - offset) / size of scale",
        "codes": "codes, float32 (N, code_dim)",
        "kinds": "kinds, float32 (N, kinds), which add up to 1",
    }
    for name, (inputs, output, _) in model.mode.exports().items():
        given = " and ".join(what.get(key, key) for key in inputs)
        about[name] = f"{given}, to {what.get(output, output)}"
    return about


def _values(model):
    """What the numbers are that the networks take and give."""
    if model.scale.offset is None:
        return {"pixel_range": [0, 1]}
    scale = model.scale
    return {
        "scale": {"offset": scale.offset.tolist(), "size": scale.size.tolist()},
        **({"feature_names": list(model.feature_names)} if model.feature_names else {}),
    }


def export(model: AAE, images: np.ndarray, out: Path, labels: Optional[np.ndarray] = None) -> float:
    """Write the ``files`` of a trained model into the directory ``out``, made if need be.

    ``images``: (N, *image_shape) as the data has them, on which each file is run, and their
    ``labels`` (N,), for modes that have to be told. Values go in and come out as scaled, see
    ``scale`` in the metadata. Returns the largest difference from the
    model. Raises AAEError, with nothing written, if it is above TOLERANCE, and InputError if files
    cannot be written or the extra ``onnx`` is missing.
    """
    from aae_mx.files import make_directory, write_aside

    need_onnx()
    codes, *kinds = model.represent(images, labels)
    values = {"images": model.scale.apply(images), "codes": codes}
    # As the networks have it.
    decoded = model.scale.apply(model.decode(codes, *kinds))
    if kinds or model.mode.classifies:
        values["kinds"] = kinds[0] if kinds else model.classify(images)
    about = metadata(model)
    worst = 0.0
    with tempfile.TemporaryDirectory() as directory:
        aside = Path(directory)
        _check_room(model, aside)
        for name, (inputs, output, function) in model.mode.exports().items():
            given = {key: values[key] for key in inputs}
            wanted = decoded if output == "images" else values[output]
            _write_gluon(model, name, inputs, output, function, aside)
            _write_onnx(name, inputs, output, wanted.shape[1], about, aside)
            for file, answer in (
                (f"{name}.onnx", _run_onnx(aside / f"{name}.onnx", given)),
                (f"{name}-0000.params", _run_gluon(aside / name, given)),
            ):
                worst = max(worst, _compare(file, answer, wanted))
        (aside / METADATA).write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        make_directory(out)
        new = [name for name in files(model) if not (out / name).exists()]
        try:
            for name in files(model):
                content = (aside / name).read_bytes()
                write_aside(out / name, lambda file, content=content: file.write(content))
        except BaseException:
            # Of a full disk; half of the files are of no use.
            for name in new:
                (out / name).unlink(missing_ok=True)
            raise
    return worst


def _check_room(model, aside):
    """Raise InputError unless there is room for the files there; MXNet would say less."""
    from aae_mx.files import free_bytes, megabytes
    from aae_mx.networks.build import n_weights

    # Gluon's and ONNX's, and what the second is made of.
    needed = 3 * 4 * n_weights(model.networks)
    free = free_bytes(aside)
    if free is not None and free < needed:
        raise InputError(
            f"{aside.parent}: making the files needs about {megabytes(needed)}, but only "
            f"{megabytes(free)} are free; set TMPDIR to a directory with room"
        )


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


def _write_gluon(model, name, inputs, output, function, directory):
    """The pair NAME-symbol.json and NAME-0000.params of what a mode exports."""
    from aae_mx.backend import mx

    made = function(mx.sym, *map(mx.sym.var, inputs))
    symbol = mx.sym.identity(made, name=output)
    states = set(symbol.list_auxiliary_states())
    used = states | set(symbol.list_arguments())
    arrays = {
        ("aux:" if key in states else "arg:") + key: parameter.data().as_in_context(mx.cpu())
        for network in model.networks.values()
        for key, parameter in network.collect_params().items()
        if key in used
    }
    symbol.save(str(directory / f"{name}-symbol.json"))
    mx.nd.save(str(directory / f"{name}-0000.params"), arrays)


def _run_gluon(prefix, given):
    from aae_mx.backend import mx

    with warnings.catch_warnings():
        # It warns that it cannot tell the input's type, and then takes float32.
        warnings.simplefilter("ignore", UserWarning)
        network = mx.gluon.SymbolBlock.imports(
            f"{prefix}-symbol.json", list(given), f"{prefix}-0000.params"
        )
    return network(*map(mx.nd.array, given.values())).asnumpy()


def _write_onnx(name, inputs, output, n_wanted, about, directory):
    """NAME.onnx from the Gluon pair, with any number of rows and the metadata ``about``."""
    from aae_mx.backend import mx

    onnx, _ = need_onnx()
    file, pair = directory / f"{name}.onnx", str(directory / f"{name}-symbol.json")
    # The exporter takes shapes in the order in which the symbol meets its inputs.
    columns = [inputs[key] for key in mx.sym.load(pair).list_inputs() if key in inputs]
    with _onnx_mapping():
        mx.onnx.export_model(
            pair,
            str(directory / f"{name}-0000.params"),
            [(1, n) for n in columns],
            [np.float32] * len(columns),
            str(file),
            dynamic=True,
            dynamic_input_shapes=[("N", n) for n in columns],
        )
    made = onnx.load(str(file))
    graph = made.graph
    # The exporter lists the weights as inputs too, leaves the output's shape open, and
    # declares the newest operators of the onnx package, which it does not know.
    given = [value for value in graph.input if value.name in inputs]
    wanted = onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["N", n_wanted])
    nodes, weights = list(graph.node), list(graph.initializer)
    made = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, name, given, [wanted], weights, about[name]),
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
    _, onnxruntime = need_onnx()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(None, given)[0]


if __name__ == "__main__":
    from aae_mx.commands.export import main

    main()
