"""What README and docs say is there, can be run, and is current."""

import contextlib
import dataclasses
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import SMALL

from aae_mx import recipes
from aae_mx.commands.options import given_settings
from aae_mx.config import Config, all_settings
from aae_mx.runs.history import read_history

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "README.zh.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
# What README may hold, and a picture, in bytes.
MOST_OF_README, MOST_OF_PICTURE = 8_000, 150_000
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def read(name):
    return (ROOT / name).read_text("utf-8")


def commands(page):
    """The command lines of a page: of indented blocks, and between backticks."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    lines = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)
    words = r"(\.venv/bin/)?(python (-m aae_mx\.|benchmarks/|examples/|docs/)|aae-mx |make [a-z])"
    return [line for line in lines if re.match(words, line)]


@each_page
def test_links_and_pictures_are_there(page):
    text = page.read_text("utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        place, _, anchor = target.partition("#")
        if re.match(r"https?:", target):
            continue
        path = (page.parent / place) if place else page
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            assert anchor in [title.lower().replace(" ", "-") for title in titles], target
    for picture in re.findall(r"<img [^>]+>", text):
        assert re.search(r'alt="[^"]{10}', picture) or page.name == "README.zh.md", picture
        assert 'alt="' in picture


def test_sizes():
    assert len(read("README.md").encode()) <= MOST_OF_README
    for path in (ROOT / "docs").iterdir():
        if path.suffix in (".png", ".gif"):
            assert path.stat().st_size <= MOST_OF_PICTURE, path.name


def test_every_page_is_in_the_index_and_every_picture_is_shown():
    index, all_text = read("docs/README.md"), "".join(p.read_text("utf-8") for p in PAGES)
    for path in (ROOT / "docs").iterdir():
        if path.suffix == ".md" and path.name != "README.md":
            assert f"({path.name})" in index and f"(docs/{path.name})" in read("README.md"), path
        if path.suffix in (".png", ".gif"):
            assert path.name in all_text, path.name


@each_page
def test_commands_can_be_parsed(page, monkeypatch):
    """By the real command line, up to the Config; targets of make by make itself."""
    monkeypatch.chdir(ROOT)
    for line in commands(page):
        words = shlex.split(line.replace(" RUN", " runs/run").replace(".venv/bin/", ""))
        if words[0] == "make":
            env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
            told = subprocess.run(
                ["make", "--dry-run", *words[1:]], cwd=ROOT, env=env, capture_output=True, text=True
            )
            assert told.returncode == 0, (line, told.stderr)
            continue
        if words[0] == "aae-mx":
            words = ["python", "-m", f"aae_mx.{words[1]}", *words[2:]]
        if words[1] != "-m":
            _parse_program(line, words[1:])
            continue
        name, arguments = words[2].split(".")[1], words[3:]
        if name == "recipes" or "…" in arguments:
            continue
        if "--help" in arguments:
            continue
        command = import_module(f"aae_mx.commands.{name}").main
        context = command.make_context(name, list(arguments))
        if name == "train":
            with context:
                given = given_settings({k: v for k, v in context.params.items() if k in SETTINGS})
            Config(**given)


SETTINGS = set(all_settings())


def _parse_program(line, words):
    """A program of benchmarks/ or examples/: its file, and the names of its options."""
    path = ROOT / words[0]
    assert path.exists(), line
    for word in words[1:]:
        if word.startswith("--"):
            assert f'"{word}' in path.read_text("utf-8"), (line, word)


def test_both_readmes_say_the_same():
    """The same commands, numbers, code, links and pictures."""
    english, chinese = read("README.md"), read("README.zh.md")
    assert commands(ROOT / "README.md") == commands(ROOT / "README.zh.md")
    number = r"\d+(?:[.,]\d+)*%?"
    assert sorted(re.findall(number, english)) == sorted(re.findall(number, chinese))
    for pattern in (r"```python\n.*?```", r'src="[^"]+"', r"\]\((?!README)[^)]+\)"):
        first, second = (re.findall(pattern, t, re.DOTALL) for t in (english, chinese))
        assert first == second


def test_numbers_of_the_readme_have_their_place():
    """In the results, with seeds and machines."""
    results = read("docs/results.md")
    for line in read("README.md").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if line.startswith("| ") and "`" in line:
            ours, reference = cells[5], cells[6].split(" (")[0]
            shares = {f"{float(n[:-1]) / 100:.3f}" for n in (ours, reference) if n.endswith("%")}
            for number in (ours, reference):
                there = number in results or shares & set(re.findall(r"0\.\d{3}", results))
                assert there or number == "pictures only", number


def test_the_table_of_recipes_is_current():
    """Made by ``python -m aae_mx.recipes > docs/recipes.md``."""
    assert read("docs/recipes.md") == recipes.document()


def test_the_python_interface_is_current():
    """Made by ``python docs/api.py > docs/api.md``."""
    told = subprocess.run(
        [sys.executable, ROOT / "docs/api.py"], capture_output=True, encoding="utf-8"
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout == read("docs/api.md"), "run: python docs/api.py > docs/api.md"


def test_the_version_has_a_change():
    import aae_mx

    assert f"## {aae_mx.__version__}\n" in read("CHANGELOG.md")
    assert f"version: {aae_mx.__version__}\n" in read("CITATION.cff")


@pytest.fixture
def small_trainings(monkeypatch):
    """Trainings of code in the docs are of few images, and short."""
    from aae_mx.training import loop

    fit = loop.fit

    def small_fit(config, out=None, *arguments, dataset=None, **more):
        small = {**SMALL, "limit": None} if dataset is not None else SMALL
        return fit(config.replace(**small), out, *arguments, dataset=dataset, **more)

    monkeypatch.setattr(loop, "fit", small_fit)


# {page: (names that its code takes for granted, runs that it reads)}
GIVEN = {
    "README.md": ("images X np dataclass", ""),
    "quickstart.md": ("images", ""),
    "modes.md": ("images aae_mx", "classification_100"),
    "explore.md": ("images aae_mx", "swiss_roll_supervised"),
    "priors.md": ("", ""),
    "arrays.md": ("aae_mx", ""),
    "extending.md": ("aae_mx", ""),
    "runs.md": ("tensorboard", "swiss_roll_supervised"),
}


def test_all_code_is_run():
    """That of export.md without this package, in test_export.py; README.zh.md has README's."""
    with_code = {page.name for page in PAGES if "```python" in page.read_text("utf-8")}
    assert with_code == {*GIVEN, "export.md", "README.zh.md"}


@pytest.mark.parametrize("page", GIVEN)
def test_code_runs(page, small_trainings, supervised_run, tmp_path, monkeypatch):
    """From top to bottom, in a directory with the runs that it reads."""
    import aae_mx
    from aae_mx.data import load_dataset

    names, runs = GIVEN[page]
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in runs.split():
        place = supervised_run
        if name == "classification_100":
            place = tmp_path / "other"
            how = {"mode": "classification", "labels": 100}
            aae_mx.fit(Config(**how), place, quiet=True)
        (tmp_path / "runs" / name).symlink_to(place)
    images = load_dataset(Config(limit=50)).test_images
    board = SimpleNamespace(SummaryWriter=lambda place: _Board())
    monkeypatch.setitem(sys.modules, "tensorboardX", board)
    if "pandas" in path.read_text("utf-8"):
        pytest.importorskip("pandas")
    there = {
        "images": images,
        "X": np.random.default_rng(0).normal(size=(60, 5)),
        "np": np,
        "aae_mx": aae_mx,
        "dataclass": dataclasses.dataclass,
    }
    space = {name: there[name] for name in names.split() if name in there}
    monkeypatch.setattr(aae_mx.priors, "PRIORS", dict(aae_mx.priors.PRIORS))
    monkeypatch.setattr(_Board, "written", [])
    for code in re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
        exec(compile(code, page, "exec"), space)
    if page == "runs.md":
        history = read_history(supervised_run)
        assert _Board.written[0] == ("reconstruction_loss", history["reconstruction_loss"][0], 1)
        assert len(_Board.written) == 2 * (len(history) - 1)


class _Board(contextlib.nullcontext):
    """TensorBoard's writer, played."""

    written = []

    def __enter__(self):
        return SimpleNamespace(add_scalar=lambda *scalar: self.written.append(scalar))
