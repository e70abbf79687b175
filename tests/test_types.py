"""Type annotations: every public name has them, and mypy can use them."""

import ast
import os
import subprocess
import sys

import pytest
from test_house import FILES, PACKAGE, name_of

RIGHT = """
import numpy as np
import aae_mx

model = aae_mx.fit(aae_mx.Config(prior="swiss_roll", labels="all"), "out", quiet=True)
codes: np.ndarray = aae_mx.load("out").encode(np.zeros((1, 784)))
classes: np.ndarray = aae_mx.AAEClassifier(epochs=1).fit([[0.0], [1.0]], [0, 1]).predict([[0.5]])
model.run / "figures"
"""
# Each with what mypy says of it.
WRONG = {
    'aae_mx.fit("swiss_roll")': "Config",
    "aae_mx.load()": "Missing positional argument",
    'aae_mx.load("out").encodes()': "encodes",
    "aae_mx.fit(aae_mx.Config(), callback=len)": "callback",
    'aae_mx.AAEClusterer().fit([[0.0], [1.0]]).transform("a", "b")': "Too many arguments",
}


def public(body, names=()):
    """The public functions and methods of the body of a module or class, and their names."""
    for node in body:
        own = (*names, getattr(node, "name", ""))
        if isinstance(node, (ast.If, ast.Try)):
            yield from public(node.body, names)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node.body, own)
        elif isinstance(node, ast.FunctionDef) and (
            node.name in ("__init__", "__call__") or not node.name.startswith("_")
        ):
            yield node, ".".join(own)


def lacking(function):
    """What of a function has no annotation: names of parameters, and ``return``."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += filter(None, (arguments.vararg, arguments.kwarg))
    names = [a.arg for a in every if a.annotation is None and a.arg not in ("self", "cls")]
    return names + ["return"] * (function.returns is None)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_public_functions_have_types(file):
    tree = ast.parse(file.read_text("utf-8"))
    found = {name: lacking(function) for function, name in public(tree.body)}
    assert not {name: names for name, names in found.items() if names}


def test_what_lacks_a_type_is_found():
    code = "class A:\n  def f(self, a: int, *b, c=1, **d) -> int: ...\n  def _g(self, x): ...\n"
    (function, name), *others = public(ast.parse(code).body)
    assert (name, lacking(function), others) == ("A.f", ["c", "b", "d"], [])


@pytest.mark.slow
def test_mypy_can_check_a_program(tmp_path):
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(RIGHT + "\n".join(WRONG) + "\n")
    command = [sys.executable, "-m", "mypy", "--python-version", "3.10", "--cache-dir", os.devnull]
    told = subprocess.run(
        [*command, "--ignore-missing-imports", str(program)],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": str(PACKAGE.parent)},
        cwd=tmp_path,
    ).stdout.splitlines()
    *errors, _ = (line for line in told if ": note: " not in line)
    first = RIGHT.count("\n") + 1
    assert len(errors) == len(WRONG), told
    for line, (error, expected) in enumerate(zip(errors, WRONG.values()), start=first):
        assert error.startswith(f"program.py:{line}: error: ") and expected in error
