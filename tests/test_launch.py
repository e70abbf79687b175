"""One training by several processes: what they learn, and how they end."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import small_options

import aae_mx
from aae_mx.commands import launch as launch_command
from aae_mx.runs.checkpoint import checkpoints
from aae_mx.runs.history import read_history

slow = pytest.mark.slow


def command(*arguments, workers=2, options=()):
    return [
        *(sys.executable, "-m", "aae_mx.launch", "--workers", str(workers), *options, "--"),
        *("train", "--no-figures", *map(str, arguments)),
    ]


def started(*arguments, **how):
    return subprocess.Popen(
        command(*arguments, **how), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def children(process):
    """The processes that a launcher has started, by the role of each."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        numbers = list(map(int, file.read().split()))
    found = {"worker": [], "server": [], "scheduler": []}
    for number in numbers:
        with open(f"/proc/{number}/environ") as file:
            variables = dict(v.split("=", 1) for v in file.read().split("\0") if "=" in v)
        if variables.get("DMLC_ROLE") in found:
            found[variables["DMLC_ROLE"]].append(number)
    return found


def is_there(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_epochs(process, run, n):
    history = run / "history.csv"
    while not (history.exists() and history.read_text().count("\n") > n):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)


def one_line(told):
    assert told.startswith("Error: ") and told.count("\n") == 1, told
    return told


def test_two_processes_learn_what_one_learns(tmp_path):
    """And the first of them shows it; what follows is drawn and used as any other run."""
    options = small_options(prior="uniform", labels="all", limit=300, epochs=2, batch_size=60)
    both = started(*options, "--out", tmp_path / "both")
    told, errors = both.communicate(timeout=300)
    assert (both.returncode, errors) == (0, "")
    assert told.count("epoch 1/2") == 1
    alone = [sys.executable, "-m", "aae_mx.train", "--no-figures", *map(str, options)]
    subprocess.run([*alone, "--out", str(tmp_path / "alone")], check=True, capture_output=True)
    for name in ("both", "alone"):
        assert len(checkpoints(tmp_path / name)) == 2
    weights = [aae_mx.load(tmp_path / name).weights() for name in ("both", "alone")]
    for name, array in weights[0].items():
        np.testing.assert_allclose(array, weights[1][name], rtol=1e-3, atol=2e-3)
    histories = [read_history(tmp_path / name) for name in ("both", "alone")]
    for name in ("reconstruction_l2", "held_out_l2", "discriminator_entropy"):
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=1e-3)


@slow
@pytest.mark.parametrize("role", ["worker", "server", "scheduler"])
def test_a_process_that_is_killed(role, tmp_path):
    """The others end, with one line; the run goes on, with another number of processes."""
    run = tmp_path / "run"
    options = small_options(limit=300, epochs=10**5)
    process = started(*options, "--out", run)
    wait_for_epochs(process, run, 2)
    there = children(process)
    os.kill(there[role][0], signal.SIGKILL)
    start = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 30
    assert process.returncode == 1 and "the last checkpoint is kept" in one_line(errors)
    assert not any(is_there(number) for numbers in there.values() for number in numbers)
    done = aae_mx.load(run).epoch
    assert done >= 1
    more = started("--resume", run, "--epochs", done + 1, workers=3)
    _, errors = more.communicate(timeout=300)
    assert (more.returncode, errors) == (0, "")
    assert aae_mx.load(run).epoch == done + 1


@slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_all_save_once_when_they_are_stopped(number, tmp_path):
    run = tmp_path / "run"
    process = started(*small_options(limit=300, epochs=10**5), "--out", run)
    wait_for_epochs(process, run, 1)
    there = children(process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    message = one_line(errors)
    assert "and saved; go on with: python -m aae_mx.train --resume" in message
    assert not any(is_there(child) for of_role in there.values() for child in of_role)
    assert aae_mx.load(run).epoch >= 1


@slow
def test_a_launcher_that_is_killed_leaves_no_process(tmp_path):
    process = started(*small_options(limit=300, epochs=10**5), "--out", tmp_path / "run")
    wait_for_epochs(process, tmp_path / "run", 1)
    there = [number for of_role in children(process).values() for number in of_role]
    assert len(there) == 4
    process.kill()
    process.wait()
    end = time.monotonic() + 10
    while any(map(is_there, there)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(is_there, there))


@slow
def test_a_mistake_of_all_is_one_line(tmp_path):
    process = started("--prior", "no_such_prior", "--out", tmp_path / "run")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and "no_such_prior" in one_line(errors)
    # The hint is of the command that was mistaken.
    assert errors.endswith("See 'python -m aae_mx.train --help'.\n") and errors.count("See") == 1
    assert not (tmp_path / "run").exists()


@slow
def test_workers_that_are_too_many_for_a_batch(tmp_path):
    options = small_options(limit=302, batch_size=100, epochs=1)
    process = started(*options, "--out", tmp_path / "run", workers=3)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "3 workers for batches of which the smallest has 2 images" in one_line(errors)


def test_a_port_that_is_taken(refused):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = refused(launch_command.main, "--port", port, "--", "train", code=1)
    assert message.startswith(f"Error: port {port} cannot be taken")


def test_what_to_launch(refused, call):
    assert "expected the command train after --" in refused(launch_command.main, code=2)
    message = refused(launch_command.main, "--", "plot", "runs/x", code=2)
    assert "as in: -- train --labels" in message
    status, output = call(launch_command.main, "--env", "--workers", 3, "--port", 9000)
    assert status == 0
    assert "DMLC_NUM_WORKER=3\n" in output and "DMLC_PS_ROOT_PORT=9000\n" in output
    assert "DMLC_NODE_HOST=127.0.0.1\n" in output
