"""One training by several processes: what they learn, and how they end."""

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import small_options

import aae_mx
from aae_mx.commands import launch as launch_command
from aae_mx.commands.hosts import Host, read_hosts
from aae_mx.commands.hosts import command as command_on
from aae_mx.commands.output import Files
from aae_mx.commands.train import with_run
from aae_mx.errors import ConfigError, InputError
from aae_mx.runs.checkpoint import checkpoints
from aae_mx.runs.history import read_history

slow = pytest.mark.slow


def command(*arguments, workers=2, options=()):
    return [
        *(sys.executable, "-m", "aae_mx.launch", "--workers", str(workers), *options, "--"),
        *("train", "--no-figures", *map(str, arguments)),
    ]


def started(*arguments, env=None, **how):
    return subprocess.Popen(
        command(*arguments, **how),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )


def children(process):
    """The processes that a launcher has started, by the role of each."""
    found = {"worker": [], "server": [], "scheduler": []}
    for number in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            with open(f"/proc/{number}/stat") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
            with open(f"/proc/{number}/environ") as file:
                variables = dict(v.split("=", 1) for v in file.read().split("\0") if "=" in v)
        except OSError:
            continue
        if parent != process.pid:
            continue
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


@slow
def test_kills_at_random_moments(tmp_path):
    """What goes on from there is bit for bit what the same number of workers had become."""
    options = small_options(limit=300, epochs=6, decay="none")
    assert started(*options, "--out", tmp_path / "whole").wait(300) == 0
    wanted = aae_mx.load(tmp_path / "whole").weights()
    rng = random.Random(0)
    for i in range(int(os.environ.get("AAE_MX_KILLS", 3))):
        run = tmp_path / f"run{i}"
        process = started(*options, "--out", run)
        wait_for_epochs(process, run, 1)
        there = children(process)
        time.sleep(rng.random())
        role = rng.choice(["worker", "server", "scheduler"])
        try:
            os.kill(rng.choice(there[role]), signal.SIGKILL)
        except ProcessLookupError:
            pass
        _, errors = process.communicate(timeout=30)
        if process.returncode:
            assert process.returncode == 1 and one_line(errors)
            again = started("--resume", run)
            _, errors = again.communicate(timeout=300)
            # Only the end of the training may be what was missing.
            assert again.returncode == 0 or "has finished 6" in errors
        found = aae_mx.load(run)
        assert found.epoch == 6
        for name, array in found.weights().items():
            np.testing.assert_array_equal(array, wanted[name])


FAKE_SSH = """#!/bin/sh
# ssh [-o X]... HOST LINE: run the line here.
while [ "$1" = -o ]; do shift 2; done
echo "$1" >> {log}
shift
cd / && exec sh -c "$*"
"""


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """A file of this machine and another one, which ssh finds here, too; and who ssh was asked."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(FAKE_SSH.format(log=tmp_path / "asked"))
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "hosts").write_text("localhost\n\nother address=127.0.0.2 slots=2  # the best\n")
    return tmp_path / "hosts", tmp_path / "asked"


@slow
def test_several_hosts(tmp_path, hosts):
    file, asked = hosts
    options = small_options(limit=300, epochs=2, batch_size=60)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "aae_mx.launch", "--hosts", file, "--gradients", "float16"),
            *("--", "train", "--no-figures", *map(str, options), "--out", tmp_path / "both"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    told, errors = process.communicate(timeout=300)
    assert process.returncode == 0 and told.count("epoch 1/2") == 1
    assert one_line("Error: " + errors).startswith("Error: listening at 127.0.0.1, 127.0.0.2: ")
    # Two workers and a server.
    assert asked.read_text() == "other\n" * 3
    alone = [sys.executable, "-m", "aae_mx.train", "--no-figures", *map(str, options)]
    subprocess.run([*alone, "--out", str(tmp_path / "alone")], check=True, capture_output=True)
    histories = [read_history(tmp_path / name) for name in ("both", "alone")]
    for name in ("reconstruction_l2", "held_out_l2", "discriminator_entropy"):
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=2e-3)


@slow
def test_a_launcher_of_hosts_that_is_killed_leaves_no_process(tmp_path, hosts):
    file, _ = hosts
    mark = f"AAE_MX_TEST_MARK={tmp_path}"
    process = subprocess.Popen(
        [
            *(
                sys.executable,
                "-m",
                "aae_mx.launch",
                "--hosts",
                file,
                "--",
                "train",
                "--no-figures",
            ),
            *(*map(str, small_options(limit=300, epochs=10**5)), "--out", tmp_path / "run"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "AAE_MX_TEST_MARK": str(tmp_path)},
    )
    wait_for_epochs(process, tmp_path / "run", 1)

    def marked():
        found = []
        for number in filter(str.isdigit, os.listdir("/proc")):
            try:
                if mark in Path("/proc", number, "environ").read_text() and is_there(number):
                    found.append(number)
            except OSError:
                continue
        return found

    # The launcher, the scheduler, two servers and three workers.
    assert len(marked()) >= 7
    process.kill()
    process.wait()
    end = time.monotonic() + 15
    while marked() and time.monotonic() < end:
        time.sleep(0.1)
    assert not marked()


def test_hosts_of_a_file(tmp_path):
    file = tmp_path / "hosts"
    file.write_text(f"# mine\n{socket.gethostname()} slots=2\na address=127.0.0.3\n")
    there, own = read_hosts(file, "127.0.0.9")
    assert own == "127.0.0.9"
    assert there == [Host(socket.gethostname(), 2, own), Host("a", 1, "127.0.0.3")]
    assert there[0].here and not there[1].here
    assert read_hosts(file)[1] == "127.0.0.1"
    assert launch_command._fitting(there, 1) == [there[0]._replace(workers=1)]
    assert launch_command._fitting(there, None) == there
    with pytest.raises(InputError, match="4 workers, but the hosts have 3 slots"):
        launch_command._fitting(there, 4)
    line, _ = command_on(there[1], {"A": "b c"}, ["-m", "x", "it's"], "/usr/bin/python3")
    assert line[-2:] == [
        "a",
        f"cd {os.getcwd()} && exec env 'A=b c' /usr/bin/python3 -m x 'it'\"'\"'s'",
    ]


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "no host is in it"),
        ("localhost\nlocalhost", "a host is in it twice"),
        ("-oProxyCommand=x", r"line 1: -oProxyCommand=x: expected NAME \[slots=N\]"),
        ("localhost slots=0", "expected slots from 1 to 256"),
        ("localhost slots=²", "expected slots from 1 to 256"),
        ("localhost slots=1000", "expected slots from 1 to 256"),
        ("# x\nlocalhost cores=2", "line 2: localhost cores=2: expected NAME"),
        ("no-such-host.invalid", "no IPv4 address is known of no-such-host.invalid"),
        ("a address=\x1b[2J", "no IPv4 address is known of"),
        ("\udcff", "no hosts can be read from it"),
    ],
)
def test_hosts_that_cannot_be_used(text, why, tmp_path):
    file = tmp_path / "hosts"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=why) as told:
        read_hosts(file)
    assert "\x1b" not in str(told.value)


def test_the_run_of_a_launch(tmp_path, monkeypatch):
    """It is known before anything is started, and so are mistakes."""
    monkeypatch.chdir(tmp_path)
    assert with_run(["--labels", "--out", "x", "--prior", "uniform"])[1] == Path("x")
    assert with_run(["--resume", "x"]) == (["--resume", "x"], Path("x"))
    (tmp_path / "runs/gaussian_unsupervised").mkdir(parents=True)
    arguments, run = with_run(["--epochs", "2"])
    assert run == Path("runs/gaussian_unsupervised-2")
    assert arguments == ["--epochs", "2", "--out", str(run)] and not run.exists()
    with pytest.raises(ConfigError, match="no pieces that labels could name"):
        with_run(["--prior", "gaussian", "--labels"])


def test_what_processes_say_goes_into_the_run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    files = Files(run)
    files.add("worker-1.log", "early")
    assert not list(run.iterdir())
    (run / "config.json").touch()
    files.add("worker-1.log", "late")
    files.add("server-0.log", "ü")
    assert (run / "workers/worker-1.log").read_text("utf-8") == "early\nlate\n"
    assert (run / "workers/server-0.log").read_text("utf-8") == "ü\n"
    # Nothing is written through links of a stranger's run.
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (run / "workers/worker-0.log").symlink_to(victim)
    files.add("worker-0.log", "x")
    files.add("worker-1.log", "after it")
    assert (run / "workers/worker-1.log").read_text("utf-8") == "early\nlate\nafter it\n"
    shutil.rmtree(run / "workers")
    (run / "workers").symlink_to(tmp_path)
    files.add("victim", "x")
    assert victim.read_text() == "mine"


def by_hand(role, *arguments, shared, code="from aae_mx.train import main; main()", **env):
    """A process of a training that no launcher has started."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **shared, "DMLC_ROLE": role, "OMP_NUM_THREADS": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def shared():
    """The variables of a training by hand, whose scheduler and server are there."""
    port = launch_command._free_port("127.0.0.1", None)
    shared = launch_command.variables(2, 1, "127.0.0.1", port)
    code = "from aae_mx.commands.launched import serve; serve()"
    others = [by_hand(role, shared=shared, code=code) for role in ("scheduler", "server")]
    yield shared
    for one in others:
        one.kill()
        one.communicate()


@slow
@pytest.mark.parametrize("what", ["seed", "version", "number", "gradients"])
def test_a_worker_that_is_not_as_the_others(what, tmp_path, shared):
    options = small_options(limit=100, epochs=2)
    first, second = {}, {"DMLC_TASK_ID": "1"}
    expected = "do not have the same settings, version and data; start all of them with the same"
    if what == "number":
        second, expected = {}, "needs a number of its own, from 0 to 1"
    if what == "gradients":
        second["AAE_MX_GRADIENTS"] = "float16"
        expected = "do not have the same AAE_MX_GRADIENTS"
    if what == "version":
        second["code"] = (
            "import aae_mx; aae_mx.__version__ = '9.9'; from aae_mx.train import main; main()"
        )
        expected = "do not have the same version of aae_mx"
    more = ["--seed", 1] if what == "seed" else []
    common = ["--no-figures", *options, "--out", tmp_path / "run"]
    workers = [
        by_hand("worker", *common, shared={**shared, "DMLC_TASK_ID": "0"}, **first),
        by_hand("worker", *common, *more, shared={**shared, "DMLC_TASK_ID": "0"}, **second),
    ]
    told = [worker.communicate(timeout=120)[1] for worker in workers]
    assert all(worker.returncode == 1 for worker in workers)
    assert any(expected in one_line(t) for t in told), told
    assert not (tmp_path / "run" / "config.json").exists()


@slow
@pytest.mark.parametrize("what", ["late", "port"])
def test_a_worker_that_is_alone(what, tmp_path, shared):
    """The others are not there, or its port is another one."""
    code = (
        "from aae_mx import exchange; exchange.JOIN_WITHIN = 5; "
        "from aae_mx.train import main; main()"
    )
    if what == "port":
        port = launch_command._free_port("127.0.0.1", None)
        shared = {**shared, "DMLC_PS_ROOT_PORT": str(port)}
    where = f"127.0.0.1:{shared['DMLC_PS_ROOT_PORT']}"
    worker = by_hand("worker", "--out", tmp_path / "run", shared=shared, code=code)
    _, errors = worker.communicate(timeout=60)
    assert worker.returncode == 1
    assert f"the scheduler at {where} were there within 5 s" in one_line(errors)


@slow
def test_a_full_disk(tmp_path):
    """Of the worker that writes; the run goes on where there is room."""
    run = tmp_path / "run"
    options = small_options(limit=300, epochs=3)
    assert started(*options, "--epochs", 1, "--out", run).wait(300) == 0
    before = aae_mx.load(run).weights()

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    process = subprocess.Popen(
        command("--resume", run, "--epochs", 3),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=little_room,
    )
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "File too large" in one_line(errors)
    for name, array in aae_mx.load(run).weights().items():
        np.testing.assert_array_equal(array, before[name])
    assert started("--resume", run, "--epochs", 3).wait(300) == 0
    assert aae_mx.load(run).epoch == 3


SLURM = Path(__file__).parent.parent / "examples" / "slurm.sh"
FAKE_SRUN = """#!/bin/bash
# srun [--OPTION]... COMMAND: run it as two tasks of one machine.
while [[ "$1" = --* ]]; do shift; done
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
wait $first && wait $second
"""


def test_the_script_for_slurm_is_sound():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    subprocess.run(["shellcheck", SLURM], check=True)


@slow
def test_slurm(tmp_path):
    for name, text in (("srun", FAKE_SRUN), ("hostname", "#!/bin/sh\necho 127.0.0.1\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    options = small_options(limit=300, epochs=2)
    done = subprocess.run(
        [SLURM, "--no-figures", *map(str, options), "--out", tmp_path / "run"],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
            "SLURM_JOB_ID": str(random.randrange(10**6)),
            "SLURM_NTASKS": "2",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_CPUS_PER_TASK": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.count("epoch 1/2") == 1
    assert aae_mx.load(tmp_path / "run").epoch == 2


def test_a_port_that_is_taken(refused):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = refused(launch_command.main, "--port", port, "--", "train", code=1)
    assert message.startswith(f"Error: port {port} of 127.0.0.1 cannot be taken")


def test_what_to_launch(refused, call, tmp_path, monkeypatch):
    assert "expected the command train after --" in refused(launch_command.main, code=2)
    message = refused(launch_command.main, "--", "plot", "runs/x", code=2)
    assert "as in: -- train --labels" in message
    message = refused(launch_command.main, "--address", "10.0.0.1", "--", "train", code=2)
    assert "--address 10.0.0.1: it is for other machines; give --hosts" in one_line(message)
    monkeypatch.setenv("DMLC_ROLE", "judge")
    message = refused(launch_command.main, "--serve", code=1)
    assert "DMLC_ROLE=judge: expected server or scheduler" in one_line(message)
    monkeypatch.delenv("DMLC_ROLE")
    (tmp_path / "hosts").write_text("localhost")
    train = ["train", "--prior", "gaussian", "--labels"]
    message = refused(launch_command.main, "--hosts", tmp_path / "hosts", "--", *train, code=2)
    assert "no pieces that labels could name" in one_line(message)
    status, output = call(launch_command.main, "--env", "--workers", 3, "--port", 9000)
    assert status == 0
    assert "DMLC_NUM_WORKER=3\n" in output and "DMLC_PS_ROOT_PORT=9000\n" in output
    assert "DMLC_NODE_HOST=127.0.0.1\n" in output
