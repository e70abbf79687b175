"""Users without a home, Pythons with unusual switches, directories and streams that are gone."""

import os
import subprocess
import sys

import pytest
from conftest import small_options

import aae_mx
from aae_mx import home

ROOT = os.path.dirname(os.path.dirname(aae_mx.__file__))
# As for a number without an entry in the list of users.
NOBODY = """
import os, pwd
def unknown(number):
    raise KeyError(number)
pwd.getpwuid = unknown
"""


def python(code, *switches, gone=(), **environment):
    """Run ``code`` in a new Python, without the variables ``gone``."""
    inherited = {name: value for name, value in os.environ.items() if name not in gone}
    return subprocess.run(
        [sys.executable, *switches, "-c", code],
        capture_output=True,
        text=True,
        env={**inherited, "PYTHONPATH": ROOT, **environment},
    )


def test_a_user_without_a_home(image_folder, supervised_run, tmp_path):
    """The images' cache and matplotlib's go to a directory of the user's own."""
    (tmp_path / "temporary").mkdir()
    code = f"""{NOBODY}
from aae_mx.report import plotting
from aae_mx.config import Config
from aae_mx.data import load_dataset
assert len(load_dataset(Config(images={str(image_folder)!r})).train_images) == 36
plotting.scatter_codes([[0, 0]]).figure.savefig({str(tmp_path / "drawn.png")!r})
"""
    gone = ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"]
    result = python(code, gone=gone, TMPDIR=str(tmp_path / "temporary"), MPLBACKEND="Agg")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "drawn.png").exists()
    own = tmp_path / "temporary" / f"aae_mx-{os.getuid()}"
    assert own.stat().st_mode & 0o777 == 0o700
    assert len(list(own.glob(".cache/aae_mx/*/*.uint8"))) == 1


@pytest.mark.parametrize("kind", ["link", "open to all", "file", "no temporary directory"])
def test_a_home_that_is_not_the_users_own_is_not_taken(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", "before")
    path = tmp_path / f"aae_mx-{os.getuid()}"
    if kind == "link":
        (tmp_path / "other").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "other")
    elif kind == "open to all":
        path.mkdir()
        path.chmod(0o777)
    elif kind == "file":
        path.write_text("mine")
    else:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    home.give_home()
    assert os.environ["HOME"] == "before"
    assert kind != "file" or path.read_text() == "mine"


def test_no_home_and_no_place_for_one(image_folder):
    code = f"""{NOBODY}
import tempfile
def none():
    raise FileNotFoundError(2, "No usable temporary directory found")
tempfile._get_default_tempdir = none
from aae_mx import train
train.main(["--images", {str(image_folder)!r}])
"""
    result = python(code, gone=["HOME", "XDG_CACHE_HOME"])
    assert result.returncode == 1 and 'File "/' not in result.stderr, result.stderr
    if "scipy" in result.stderr:
        # That for Python 3.9 needs such a place to be imported, and adds lines of its own.
        assert result.stderr.splitlines()[-1].startswith("Error: cannot import mxnet ([Errno 2] No")
    else:
        assert result.stderr.count("\n") == 1
        assert "this user has no home directory; set XDG_CACHE_HOME" in result.stderr


def test_warnings_as_errors(tmp_path):
    """MXNet is retired, and warned of what NumPy and SciPy have changed since."""
    options = [*small_options(epochs=1), "--out", str(tmp_path / "run"), "--quiet"]
    code = f"from aae_mx import train; train.main({options!r})"
    result = python(code, "-W", "error")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert len(list((tmp_path / "run/figures").iterdir())) == 7


def test_without_docstrings():
    """MXNet builds on them when it is imported; help does without."""
    result = python("from aae_mx import train; train.main(['--limit', '10'])", "-OO")
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "mxnet needs docstrings" in result.stderr and "PYTHONOPTIMIZE" in result.stderr
    result = python("from aae_mx import __main__; __main__.main(['train', '--help'])", "-OO")
    assert result.returncode == 0 and "--prior" in result.stdout


@pytest.mark.slow
@pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0),
    reason="in such a place it ends in a SystemError where a module lacks a name",
)
def test_a_working_directory_that_is_gone(supervised_run, tmp_path):
    (tmp_path / "gone").mkdir()
    code = f"""
import os
os.chdir({str(tmp_path / "gone")!r})
os.rmdir({str(tmp_path / "gone")!r})
from aae_mx import train
from aae_mx.commands import plot
for command, arguments in (
    (train.main, {small_options()!r}),
    (train.main, {[*small_options(), "--images", "pictures"]!r}),
    (plot.main, {[str(supervised_run), "--out", "drawn"]!r}),
    (plot.main, {[str(supervised_run), "--out", str(tmp_path / "drawn")]!r}),
):
    try:
        command(arguments)
    except SystemExit as end:
        print(end.code)
"""
    result = python(code)
    assert result.stdout.split("\n")[-2] == "0", result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 3 and all(line.startswith("Error: ") for line in lines), result.stderr
    assert (tmp_path / "drawn/pz.png").exists()


def test_closed_streams(tmp_path):
    """Started with none of stdin, stdout and stderr, as some services are."""
    run = tmp_path / "run"
    arguments = [sys.executable, "-m", "aae_mx.train", *small_options(epochs=1), "--out", str(run)]
    command = 'exec "$@" <&- >&- 2>&-'
    result = subprocess.run(
        ["sh", "-c", command, "sh", *arguments], env={**os.environ, "PYTHONPATH": ROOT}
    )
    assert result.returncode == 0
    assert len(list((run / "figures").iterdir())) == 7
    assert len((run / "train.log").read_text().splitlines()) == 3
