"""What README and docs say is there, and current."""

import contextlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from aae_mx import recipes
from aae_mx.runs.history import read_history

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page):
    text = page.read_text("utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        if not re.match(r"https?:", target):
            assert (page.parent / target).exists(), target


def test_tables_of_recipes_are_current():
    """Made by ``python -m aae_mx.recipes > docs/recipes.md`` and ``recipes.side_by_side``."""
    assert (ROOT / "docs/recipes.md").read_text("utf-8") == recipes.document()
    perceptrons = ("ORIGINAL", "PERCEPTRONS", "PERCEPTRONS_LABELS", "ROLL")
    table = recipes.side_by_side([getattr(recipes, name) for name in perceptrons])
    assert table in (ROOT / "README.md").read_text("utf-8")


def test_the_version_has_a_change():
    import aae_mx

    assert f"## {aae_mx.__version__}\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_history_in_other_programs(supervised_run, tmp_path, monkeypatch):
    """As the README has it; TensorBoard's writer is played."""
    pytest.importorskip("pandas")
    written = []

    class SummaryWriter(contextlib.nullcontext):
        def __enter__(self):
            return SimpleNamespace(add_scalar=lambda *scalar: written.append(scalar))

    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=SummaryWriter))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/swiss_roll_supervised").symlink_to(supervised_run)
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    code = [part for part in code if "history" in part]
    assert len(code) == 2
    exec("".join(code), {})
    history = read_history(supervised_run)
    assert written[0] == ("reconstruction_loss", history["reconstruction_loss"][0], 1)
    assert written[-1] == ("seconds", history["seconds"][-1], 2)
    assert len(written) == 2 * (len(history) - 1)
