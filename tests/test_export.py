import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import small_config

import aae_mx.model
from aae_mx import export
from aae_mx.commands import export as export_command
from aae_mx.config import ACTIVATIONS
from aae_mx.data import load_dataset, to_unit
from aae_mx.errors import AAEError
from aae_mx.priors import PRIORS

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parent.parent
PAGE, ELSEWHERE = ROOT / "docs/export.md", ROOT / "examples" / "elsewhere.py"


@pytest.fixture(scope="module")
def exported(supervised_run, tmp_path_factory):
    """The model of a run, and the directory of its exported files."""
    model = aae_mx.model.load(supervised_run)
    out = tmp_path_factory.mktemp("exported") / "files"
    export.export(model, load_dataset(model.config).test_images, out)
    return model, out


@pytest.fixture
def pixels(exported):
    return to_unit(load_dataset(exported[0].config).test_images)


def test_command(call, refused, supervised_run, tmp_path):
    out = tmp_path / "there"
    status, output = call(export_command.main, supervised_run, "--out", out)
    assert status == 0 and "on 300 held-out images they differ" in output, output
    assert sorted(path.name for path in out.iterdir()) == sorted(
        export.files(aae_mx.model.load(supervised_run))
    )
    before = (out / "encoder.onnx").stat().st_ino
    message = refused(export_command.main, supervised_run, "--out", out, code=2)
    assert f"--out {out}: it holds encoder.onnx already; add --overwrite" in message
    assert call(export_command.main, supervised_run, "--out", out, "--overwrite")[0] == 0
    assert (out / "encoder.onnx").stat().st_ino != before, "it was replaced"
    assert "no run here" in refused(export_command.main, tmp_path / "nowhere", code=1)
    (tmp_path / "file").write_text("mine")
    assert "cannot be made" in refused(
        export_command.main, supervised_run, "--out", tmp_path / "file/export", code=1
    )


def test_onnx_gives_what_the_model_gives(exported, pixels):
    model, out = exported
    for n in (300, 1):
        codes = model.encode(pixels[:n])
        encoder = onnxruntime.InferenceSession(str(out / "encoder.onnx"))
        decoder = onnxruntime.InferenceSession(str(out / "decoder.onnx"))
        np.testing.assert_allclose(
            encoder.run(["codes"], {"images": pixels[:n]})[0], codes, atol=1e-5
        )
        images = decoder.run(["images"], {"codes": codes})[0]
        np.testing.assert_allclose(images, model.decode(codes).reshape(n, -1), atol=1e-5)
    assert 0 <= images.min() < images.max() <= 1


def test_metadata(exported):
    model, out = exported
    for name, given, wanted in (("encoder", 784, 2), ("decoder", 2, 784)):
        made = onnx.load(str(out / f"{name}.onnx"))
        onnx.checker.check_model(made, full_check=True)
        assert [opset.version for opset in made.opset_import] == [13]
        values = {entry.key: entry.value for entry in made.metadata_props}
        assert values["prior"] == "swiss_roll" and values["formulation"] == "supervised"
        assert json.loads(values["prior_parameters"]) == {"radius": 3.0, "turns": 2.0}
        assert json.loads(values["classes"]) == list(model.classes)
        assert json.loads(values["image_shape"]) == [28, 28]
        assert json.loads(values["pixel_range"]) == [0, 1]
        assert json.loads(values["prior_pieces"]) == 10
        assert "float32 (N, pixels) in pixel_range" in values[name]
        (before,), (after,) = made.graph.input, made.graph.output
        shapes = [
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (before, after)
        ]
        assert shapes == [["N", given], ["N", wanted]]
    about = json.loads((out / "model.json").read_text("utf-8"))
    assert about["epoch"] == 2
    assert {key: v if isinstance(v, str) else json.dumps(v) for key, v in about.items()} == values


def test_lines_of_the_docs_need_no_package(exported, pixels, tmp_path):
    """ONNX, then Gluon's format, in a process that cannot import aae_mx."""
    model, out = exported
    np.save(tmp_path / "pixels.npy", pixels[:20])
    lines = "".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    zeros, mine = 'numpy.zeros((5, 784), "float32")', f'numpy.load("{tmp_path}/pixels.npy")'
    assert zeros in lines
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        # As the lines say, theirs with MXNet are for an older one; here ours puts it right.
        ours = "from aae_mx.backend import mx as mxnet"
        lines = re.sub(r"numpy.bool = bool .*\nimport mxnet", ours, lines)
        assert ours in lines
        forbidden = ""
    else:
        forbidden = 'sys.modules["aae_mx"] = None'
    code = f"""
import sys
{forbidden}
{lines.replace(zeros, mine)}
encoder = mxnet.gluon.SymbolBlock.imports(
    "encoder-symbol.json", ["images"], "encoder-0000.params"
)
assert numpy.abs(encoder(mxnet.nd.array({mine})).asnumpy() - codes).max() < 1e-5
numpy.save("{tmp_path}/codes.npy", codes)
numpy.save("{tmp_path}/images.npy", images.asnumpy())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=out)
    assert result.returncode == 0, result.stderr
    codes, images = (np.load(tmp_path / f"{name}.npy") for name in ("codes", "images"))
    np.testing.assert_allclose(codes, model.encode(pixels[:20]), atol=1e-5)
    np.testing.assert_allclose(images, model.decode(codes).reshape(20, -1), atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation, unsupervised_run, tmp_path):
    config = small_config(activation=activation, code_dim=4, init_std=0.3, hidden=(20,))
    model = aae_mx.model.AAE(config, (5, 4), "ab")
    model.run = unsupervised_run
    images = np.random.default_rng(0).integers(256, size=(50, 5, 4)).astype(np.uint8)
    assert export.export(model, images, tmp_path / "out") <= export.TOLERANCE
    assert np.ptp(model.encode(images)) > 0.1, "values that could differ"


@pytest.mark.parametrize("file", ["encoder.onnx", "decoder-0000.params"])
def test_disagreement_leaves_nothing(refused, supervised_run, tmp_path, monkeypatch, file):
    name = "_run_onnx" if file.endswith("onnx") else "_run_gluon"
    answer = getattr(export, name)

    def wrong(path, given):
        return answer(path, given) + np.float32(2e-5) * (path.stem == file.split(".")[0][:7])

    monkeypatch.setattr(export, name, wrong)
    message = refused(export_command.main, supervised_run, "--out", tmp_path / "out", code=1)
    assert file in message and "differs from the model by 2.0e-05, more than 1e-05" in message
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_nan_is_a_disagreement():
    with pytest.raises(AAEError, match="nan"):
        export._compare("file", np.array([np.nan, 0]), np.zeros(2))


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_missing_extra_is_named(refused, supervised_run, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    message = refused(export_command.main, supervised_run, "--out", tmp_path / "out", code=1)
    assert f"ONNX files need the extra 'onnx' (import of {missing}" in message
    assert "pip install onnx onnxruntime" in message
    assert not (tmp_path / "out").exists()


def test_default_place_is_never_through_a_link(refused, supervised_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(supervised_run, run)
    (tmp_path / "outside").mkdir()
    (run / "export").symlink_to(tmp_path / "outside")
    assert "a link that leads out of the run" in refused(export_command.main, run, code=1)
    assert not list((tmp_path / "outside").iterdir())


def test_example_needs_nothing_but_onnxruntime_and_numpy(exported, tmp_path):
    model, out = exported
    code = f"""
import runpy, sys
for name in ("aae_mx", "mxnet", "onnx", "matplotlib", "PIL"):
    sys.modules[name] = None
sys.argv = ["elsewhere.py", {str(out)!r}]
runpy.run_path({str(ELSEWHERE)!r}, run_name="__main__")
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "100 samples of swiss_roll" in result.stdout
    content = (tmp_path / "elsewhere.pgm").read_bytes()
    assert content.startswith(b"P5 280 280 255\n") and len(content) == 15 + 280 * 280


def test_example_agrees_with_the_model(exported, tmp_path, monkeypatch):
    model, out = exported
    codes, images, again = runpy.run_path(str(ELSEWHERE))["main"](out, tmp_path / "a", seed=3)
    expected, _ = model.sample_prior(100, labels=np.arange(100) % 10, seed=3)
    np.testing.assert_allclose(codes, expected, atol=1e-6)
    decoded = model.decode(codes)
    np.testing.assert_allclose(images, decoded.reshape(100, -1), atol=1e-5)
    np.testing.assert_allclose(again, model.encode(decoded), atol=1e-5)


@pytest.mark.parametrize("prior", ["gaussian", "gaussian_mixture", "swiss_roll", "uniform"])
@pytest.mark.parametrize("with_labels", [False, True])
def test_priors_of_the_example(prior, with_labels):
    if prior == "gaussian" and with_labels:
        return
    labels = "all" if with_labels else "none"
    code_dim = 4 if PRIORS[prior].paired else 5
    config = small_config(prior=prior, code_dim=code_dim, labels=labels)
    model = aae_mx.model.AAE(config, (2, 2), "abcde")
    about = {
        "prior": prior,
        "prior_parameters": export.metadata(model)["prior_parameters"],
        "prior_pieces": 5,
        "code_dim": code_dim,
    }
    labels = np.arange(50) % 5 if with_labels else None
    draw = runpy.run_path(str(ELSEWHERE))["draw_prior"]
    codes = draw(about, 50, np.random.default_rng(7), labels)
    expected, _ = model.sample_prior(50, labels, seed=7)
    np.testing.assert_allclose(codes, expected, atol=1e-6)


def test_picture_of_colour(tmp_path):
    write = runpy.run_path(str(ELSEWHERE))["write_picture"]
    images = np.zeros((3, 2, 4, 3))
    images[2, 0, 0] = 1, 0.5, 0
    content = write(tmp_path / "a", images, 2).read_bytes()
    assert content.startswith(b"P6 8 4 255\n")
    sheet = np.frombuffer(content[11:], np.uint8).reshape(4, 8, 3)
    np.testing.assert_array_equal(sheet[2, 0], [255, 128, 0])
    assert (tmp_path / "a.ppm").exists() and sheet.sum() == 383
