import runpy
from pathlib import Path

import pytest
from conftest import SMALL

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("name", ["unsupervised", "supervised", "semi_supervised"])
def test_script(name, tmp_path):
    main = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    settings = {**SMALL, "labels": 50} if name == "semi_supervised" else SMALL
    main(out=tmp_path / "run", **settings)
    assert (tmp_path / "run" / "codes.png").exists()


def test_notebook(tmp_path):
    """From top to bottom, on a small subset."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    assert "limit = None" in notebook.cells[1].source
    notebook.cells[1].source = notebook.cells[1].source.replace("limit = None", "limit = 300")
    client.NotebookClient(notebook, timeout=120).execute(cwd=str(tmp_path))
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 5
    assert any((tmp_path / "runs/gaussian_mixture_supervised/checkpoints").iterdir())
