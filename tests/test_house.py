"""How the package is built: imports point down, and only modes know what kind of model there is."""

import ast
import re
from pathlib import Path

import pytest

from aae_mx import modes

PACKAGE = Path(__file__).parent.parent / "aae_mx"
FILES = sorted(PACKAGE.rglob("*.py"))

# The floor of each room or module, from the top: it imports from its own and from those below.
FLOORS = (
    (
        "commands",
        "explore.__main__",
        "report.__main__",
        "__main__",
        "train",
        "launch",
        "evaluate",
        "figures",
        "paper",
        "encode",
        "sample",
        "plot",
        "slim",
    ),
    ("report", "explore", "export", "estimators"),
    ("training.loop",),
    ("model",),
    ("config", "training"),
    ("modes",),
    ("networks",),
    ("priors", "recipes", "plugins", "runs", "data", "exchange"),
    ("settings", "backend"),
    ("errors", "files", "text", "threads", "pages", "home", "hints", "__init__"),
)


def name_of(file):
    """The module of a file, without the package: training.loop."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "__init__"


def room_of(module):
    """The longest of the names in FLOORS that stands for a module."""
    names = [n for floor in FLOORS for n in floor if module == n or module.startswith(n + ".")]
    assert names, f"{module} has no place in the house"
    return max(names, key=len)


def floor_of(module):
    return next(i for i, floor in enumerate(FLOORS) if room_of(module) in floor)


def imported(file):
    """What a file imports of this package, also within functions.

    Not to run as a script, nor for type checkers alone.
    """
    tree = ast.parse(file.read_text("utf-8"))
    ifs = [node for node in tree.body if isinstance(node, ast.If)]
    apart = [i for i in ifs if re.search("__name__|TYPE_CHECKING", ast.dump(i.test))]
    within = {id(inner) for node in apart for part in node.body for inner in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in within or not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.split(".")[0] == "aae_mx":
            base = node.module[len("aae_mx.") :]
            for alias in node.names:
                whole = f"{base}.{alias.name}".lstrip(".")
                there = (PACKAGE / Path(*whole.split("."))).with_suffix(".py").exists()
                there = there or (PACKAGE / Path(*whole.split("."))).is_dir()
                yield whole if there else base or "__init__"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_down(file):
    own = name_of(file)
    for other in imported(file):
        assert floor_of(other) >= floor_of(own), f"{own} imports {other}, which is above it"


def lines(*names):
    """The lines of modules, and of all in a package."""
    files = [f for f in FILES for n in names if name_of(f) == n or name_of(f).startswith(n + ".")]
    assert files
    return sum(len(file.read_text("utf-8").splitlines()) for file in files)


def test_the_core_can_be_read_in_an_hour():
    core = ("training.loop", "modes.label_prior", "priors", "networks")
    # Some 90 of them are what types make of imports and signatures, and as many are for phases that
    # are one operation and for several workers.
    assert lines(*core) <= 1650


@pytest.mark.parametrize("mode", sorted(mode.__module__ for mode in modes.MODES.values()))
def test_a_mode_is_short(mode):
    if mode.startswith("aae_mx."):
        # Not one that another test has brought.
        assert lines(mode[len("aae_mx.") :]) <= 200


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_only_modes_and_recipes_ask_for_the_mode(file):
    """Elsewhere a mode is asked what it can do, not what it is."""
    if room_of(name_of(file)) in ("modes", "recipes") or name_of(file) == "report.post":
        # The last is the post's own set of figures.
        return
    text = file.read_text("utf-8")
    asked = r"formulation|(config\.mode|mode\.name|labels) *(==|!=) *[\"']|isinstance\([^)]*Mode"
    assert not re.findall(asked, text)
