import runpy
from pathlib import Path

import pytest
from conftest import SMALL, SMALL_CONV

from aae_mx.errors import InputError

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("name", ["unsupervised", "supervised", "semi_supervised"])
def test_script(name, tmp_path):
    main = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    settings = {**SMALL, "labels": 50} if name == "semi_supervised" else SMALL
    main(out=tmp_path / "run", **settings)
    assert (tmp_path / "run" / "codes.png").exists()


@pytest.mark.parametrize("name", ["unsupervised", "supervised", "semi_supervised", "larger_images"])
def test_options(name, call, refused):
    program = runpy.run_path(str(EXAMPLES / f"{name}.py"))["program"]
    status, output = call(program, "--help")
    assert status == 0 and "--epochs" in output and "--out" in output
    if name != "larger_images":
        assert "--epochs 0: expected at least 1" in refused(program, "--epochs", 0, code=2)


def test_larger_images(tmp_path):
    script = runpy.run_path(str(EXAMPLES / "larger_images.py"))
    font, stamps = Path(script["FONT"]), Path(script["STAMPS"])
    with pytest.raises(InputError, match="nowhere is not there; install its package"):
        script["main"](font=tmp_path / "nowhere")
    if not (font.exists() and stamps.exists()):
        pytest.skip("the Debian packages of the pictures are not installed")
    settings = {**SMALL_CONV, "limit": 30, "epochs": 1}
    del settings["image_size"]
    stamps = stamps / "food"
    script["main"](28, tmp_path / "pictures", stamps=stamps, out=tmp_path / "run", **settings)
    assert len(list((tmp_path / "pictures/emoji").iterdir())) > 1000
    assert (tmp_path / "run/figures/interpolations.png").exists()


def test_arrays(tmp_path, capsys):
    main = runpy.run_path(str(EXAMPLES / "arrays.py"))["main"]
    model = main(out=tmp_path / "codes.png", epochs=2)
    assert (tmp_path / "codes.png").exists() and model.model_.config.prior == "triangle"
    assert "% of the wines" in capsys.readouterr().out


def read_notebook(name):
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    return notebook


def run_notebook(notebook, where):
    """Run all cells; returns the PNG pictures that they show."""
    from nbclient import NotebookClient

    NotebookClient(notebook, timeout=300).execute(cwd=str(where))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.slow
def test_notebook_of_arrays(tmp_path):
    """From top to bottom, with two epochs each."""
    notebook = read_notebook("arrays.ipynb")
    assert "epochs = None" in notebook.cells[1].source
    notebook.cells[1].source = notebook.cells[1].source.replace("epochs = None", "epochs = 2")
    assert len(run_notebook(notebook, tmp_path)) == 3


@pytest.mark.slow
def test_notebook(tmp_path):
    """From top to bottom, on a small subset."""
    notebook = read_notebook("tour.ipynb")
    assert "limit = None" in notebook.cells[1].source
    notebook.cells[1].source = notebook.cells[1].source.replace("limit = None", "limit = 300")
    training = next(cell for cell in notebook.cells if "aae_mx.fit" in cell.source)
    assert "limit=limit)" in training.source
    training.source = training.source.replace("limit=limit)", "limit=limit, epochs=2)")
    assert len(run_notebook(notebook, tmp_path)) == 5
    assert any((tmp_path / "runs/gaussian_mixture_supervised/checkpoints").iterdir())
