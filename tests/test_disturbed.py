"""A training that ends, or whose disk is full, at any call that changes its directory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import small_options

import aae_mx
from aae_mx.runs.history import read_history

SOURCE = Path(__file__).parent / "disturb.c"
COMMAND = ["-m", "aae_mx.train", *small_options(limit=100, hidden=(16,)), "--snapshots"]
# Of the calls of a run of two epochs two; all in the slow tests. Between 3 and 9 the directory is
# there, but not what describes the run; from 58 on the figures are drawn.
SOME, MOST, FIGURES_FROM = (3, 60), 102, 58


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    path = tmp_path_factory.mktemp("library") / "disturb.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", path, SOURCE, "-ldl"]
    subprocess.run(list(map(str, command)), check=True)
    return path


def train(*options, **env):
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    return subprocess.run(
        [sys.executable, *map(str, options)], capture_output=True, text=True, env=env
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    assert train(*COMMAND, "--out", path).returncode == 0
    return path


def check(at, how, library, undisturbed, tmp_path):
    """Whether there was such a call; after it, one more command makes the run what it is."""
    run, log = tmp_path / "run", tmp_path / "log"
    figures = [] if at >= FIGURES_FROM else ["--no-figures"]
    first = train(
        *(*COMMAND, "--out", run, *figures),
        LD_PRELOAD=str(library),
        DISTURB_DIR=str(run),
        DISTURB_AT=str(at),
        DISTURB_HOW=how,
        DISTURB_LOG=str(log),
    )
    if len(log.read_text().splitlines()) < at:
        return False
    where = log.read_text().splitlines()[at - 1]
    assert "Traceback" not in first.stderr, where
    if how == "kill":
        assert first.returncode == -9, where
    else:
        # The run is whole where only its figures, or a line of its log, could not be written.
        assert first.returncode in (0, 1), where
        assert first.stderr.startswith(("Error: ", "Warning: ")) or not first.stderr, where
        assert first.returncode == 1 or (run / "checkpoints").is_dir(), where
    if (run / "config.json").exists():
        again = train("-m", "aae_mx.train", "--resume", run, *figures)
        # With its figures there is nothing more to do.
        done = "has finished 2; give more" in again.stderr
        assert again.returncode == 0 or done, (where, again.stderr)
    else:
        if run.exists():
            told = train("-m", "aae_mx.train", "--resume", run).stderr
            assert told.count("\n") == 1 and "there is no run here" in told, (where, told)
        again = train(*COMMAND, "--out", run, *figures)
        assert again.returncode == 0, (where, again.stderr)
    wanted, found = aae_mx.load(undisturbed).weights(), aae_mx.load(run).weights()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=where)
    histories = read_history(undisturbed), read_history(run)
    for name in set(histories[0]) - {"seconds"}:
        assert histories[0][name] == histories[1][name], where
    for directory in (*(() if figures else ("figures",)), "snapshots", "checkpoints"):
        there = (
            sorted(path.name for path in (place / directory).iterdir() if path.name[0] != ".")
            for place in (undisturbed, run)
        )
        assert next(there) == next(there), (where, directory)
    return True


@pytest.mark.parametrize("at", [SOME[0], pytest.param(SOME[1], marks=pytest.mark.slow)])
def test_at_some_calls(at, library, undisturbed, tmp_path):
    assert check(at, "kill", library, undisturbed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "full"])
@pytest.mark.parametrize("at", range(1, MOST))
def test_at_every_call(at, how, library, undisturbed, tmp_path):
    if not check(at, how, library, undisturbed, tmp_path):
        assert at > SOME[-1]
