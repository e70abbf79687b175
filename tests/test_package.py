"""What is built for the package index, and that it works without the source tree."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Trained, drawn and read again by an installed package, in an empty directory.
USE = """
import pathlib, aae_mx
from aae_mx.__main__ import main

assert pathlib.Path(HERE) in pathlib.Path(aae_mx.__file__).parents, aae_mx.__file__
small = "--limit 500 --epochs 1 --hidden 32,16 --out run --quiet"
for line in ("train " + small, "explore run", "report run", "sample run --out a.png"):
    try:
        main(line.split())
    except SystemExit as ended:
        assert not ended.code, line
assert len(list(pathlib.Path("run/figures").iterdir())) == 7
assert pathlib.Path("run/explore.html").stat().st_size > 1e5
"""


def run(*command, **how):
    told = subprocess.run([str(word) for word in command], capture_output=True, text=True, **how)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A directory with a wheel and a source distribution, of a tree in which one has worked."""
    pytest.importorskip("wheel")
    tree = tmp_path_factory.mktemp("tree") / "aae_mx"
    left_out = shutil.ignore_patterns(".*", "runs", "figures", "build", "dist", "*.egg-info")
    shutil.copytree(
        ROOT,
        tree,
        ignore=lambda place, names: (
            left_out(place, names) if Path(place) == ROOT else {"__pycache__"} & set(names)
        ),
    )
    for rubbish in ("runs/mine/config.json", "figures/mine.png", "tests/__pycache__/a.pyc"):
        (tree / rubbish).parent.mkdir(parents=True, exist_ok=True)
        (tree / rubbish).write_text("mine")
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", out, cwd=tree)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--no-cache-dir", "--wheel-dir", out, tree, cwd=out)
    return out


def names(path):
    if path.suffix == ".whl":
        return zipfile.ZipFile(path).namelist()
    with tarfile.open(path) as archive:
        return [name.split("/", 1)[-1] for name in archive.getnames()]


def test_what_they_hold(built):
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    mine = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "aae_mx").rglob("*")
        if path.suffix in (".py", ".gz", ".html", ".typed", ".c") and path.is_file()
    }
    assert mine - set(names(wheel)) <= {"aae_mx/training/adam.c"}
    assert mine <= set(names(source))
    wanted = {"setup.py", "Makefile", "README.md", "README.zh.md", "CITATION.cff", "LICENSE"}
    wanted |= {"docs/README.md", "docs/overview.png", "tests/conftest.py", "examples/arrays.py"}
    assert wanted <= set(names(source))
    assert any(name.endswith("/LICENSE") for name in names(wheel))
    for path in (wheel, source):
        for name in names(path):
            parts = name.split("/")
            assert "mine" not in name and not name.endswith((".pyc", ".png.tmp")), name
            assert not {"__pycache__", ".git", ".venv", "figures"} & set(parts), name
            assert parts[0] != "runs", name
    assert max(path.stat().st_size for path in (wheel, source)) < 25e6


def test_what_is_said_of_it(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        told = archive.read(name).decode("utf-8")
    for line in (
        "Requires-Python: >=3.9",
        "Classifier: Programming Language :: Python :: 3.14",
        "Project-URL: Paper, https://arxiv.org/abs/1511.05644",
        "Provides-Extra: onnx",
        "Description-Content-Type: text/markdown",
    ):
        assert line in told, line


@pytest.mark.parametrize("kind", ["*.whl", pytest.param("*.tar.gz", marks=pytest.mark.slow)])
def test_it_works_without_the_tree(built, kind, tmp_path):
    (package,) = built.glob(kind)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--target", tmp_path / "installed", package)
    (tmp_path / "work").mkdir()
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "OMP_NUM_THREADS": "1"}
    code = USE.replace("HERE", repr(str(tmp_path / "installed")))
    run(sys.executable, "-c", code, cwd=tmp_path / "work", env=env)
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["a.png", "run"]


def pythons():
    """{version: a Python} of those that aae_mx supports."""
    roots = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for minor in range(9, 15):
        version = f"3.{minor}"
        places = [*sorted(roots.glob(f"{version}.*/bin/python")), shutil.which(f"python{version}")]
        if places[0]:
            found[version] = str(places[0])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("version", pythons())
def test_in_a_clean_environment(version, built, tmp_path):
    """With what the metadata ask for, from the package index; a wheel is for one Python."""
    own = version == "{}.{}".format(*sys.version_info[:2])
    (package,) = built.glob("*.whl" if own else "*.tar.gz")
    if (
        run(pythons()[version], "-c", "import sys; print(sys.version[:4])")[:4].strip(".")
        != version
    ):
        pytest.skip(f"no Python {version}")
    run(pythons()[version], "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", package)
    if int(version[2:]) >= 13:
        # As quickstart.md says.
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "mxnet==1.9.1")
    (tmp_path / "work").mkdir()
    code = USE.replace("HERE", repr(str(tmp_path / "venv")))
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run(python, "-c", code, cwd=tmp_path / "work", env={**env, "OMP_NUM_THREADS": "1"})
