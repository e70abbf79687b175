"""What README and docs say is there, and current."""

import re
from pathlib import Path

import pytest

from aae_mx import recipes

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
