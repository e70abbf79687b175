"""Series of trainings: several at once, and the paper's table."""

import csv
import dataclasses
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import small_config
from joblib import parallel_config

import aae_mx
from aae_mx.commands import paper as paper_command
from aae_mx.errors import AAEError
from aae_mx.files import lock
from aae_mx.report import apart, paper
from aae_mx.report.apart import Watch
from aae_mx.report.series import complete
from aae_mx.runs.checkpoint import finished_epochs
from aae_mx.runs.history import read_history

SMALL = {"hidden": (20,), "discriminator_hidden": (10,)}


@pytest.fixture
def small(monkeypatch):
    """The paper's experiments with small networks."""
    shown = ("mixture", "8-D", "30 clusters", "10-D, 100 labels", "2-D, 100 labels")
    experiments = [
        dataclasses.replace(e, settings={**e.settings, **SMALL})
        for e in paper.EXPERIMENTS
        if any(name in e.what for name in shown)
    ]
    monkeypatch.setattr(paper, "EXPERIMENTS", tuple(experiments))
    monkeypatch.setattr(paper, "QUICK", {"limit": 1500, "epochs": 1})


@pytest.mark.slow
def test_several_at_once_are_what_each_is_alone(tmp_path):
    trainings = {
        tmp_path / "runs" / str(seed): small_config(limit=100, epochs=1, seed=seed)
        for seed in range(3)
    }
    dataset, trained = complete(trainings, tmp_path, quiet=True, jobs=2)
    assert trained == set(trainings) and len(dataset.train_images) == 100
    for run, config in trainings.items():
        model = aae_mx.load(run)
        assert model.config == config and model.config.given == config.given
        alone = aae_mx.fit(config, tmp_path / "alone" / run.name, quiet=True)
        for name, weights in alone.weights().items():
            np.testing.assert_allclose(weights, model.weights()[name], atol=1e-5)
    # What is there stays, what is unfinished goes on.
    longer = {run: config.replace(epochs=2) for run, config in trainings.items()}
    with pytest.raises(AAEError, match="it was trained with epochs=1, not 2"):
        complete(longer, tmp_path, quiet=True)
    assert complete(trainings, tmp_path, quiet=True, jobs=2)[1] == set()


@pytest.mark.slow
def test_trainings_in_the_workers_of_a_cluster(tmp_path, monkeypatch):
    """Where joblib's backend is Dask, none is trained in this process."""
    distributed = pytest.importorskip("distributed")
    trainings = {
        tmp_path / "runs" / str(seed): small_config(limit=100, epochs=1, seed=seed)
        for seed in range(3)
    }
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster), parallel_config(backend="dask"):
        monkeypatch.setattr(apart, "subprocess", None)
        assert complete(trainings, tmp_path, quiet=True, jobs=2)[1] == set(trainings)
    for run in trainings:
        assert aae_mx.load(run).epoch == 1


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_training_that_fails_does_not_lose_the_others(jobs, tmp_path):
    # Rates at which the weights cannot stay finite.
    wild = {"decoder_rate": 1e9, "clip": 1e9}
    configs = [small_config(limit=100, seed=i, **(wild if i == 1 else {})) for i in range(3)]
    trainings = {tmp_path / "runs" / str(i): config for i, config in enumerate(configs)}
    with pytest.raises(AAEError) as told:
        complete(trainings, tmp_path, jobs=jobs)
    message = str(told.value)
    assert message.startswith("1 of 3 trainings failed (2 others were trained): ")
    assert f"{tmp_path}/runs/1: epoch 1, step 2" in message and "has diverged" in message
    assert [finished_epochs(run) for run in trainings] == [2, 0, 2]


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_all_are_saved_when_it_is_stopped(number, tmp_path):
    """By a signal to the parent alone, and by Ctrl-C, which reaches all of them; no orphans."""
    program = (
        "import click; from pathlib import Path; from aae_mx import Config\n"
        "from aae_mx.commands.options import command\n"
        "from aae_mx.report.apart import train_at_once\n"
        "@command()\n"
        "@click.argument('out', type=click.Path(path_type=Path))\n"
        "def several(out):\n"
        "    some = {'hidden': (20,), 'discriminator_hidden': (10,), 'limit': 500}\n"
        "    trainings = {out / str(i): Config(**some, epochs=10**5, seed=i) for i in range(3)}\n"
        "    train_at_once(trainings, 2, 1, {run: 1.0 for run in trainings}, print)\n"
        "several()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        # A shell lets jobs in the background ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    histories = [tmp_path / str(i) / "history.csv" for i in range(2)]
    while not all(file.exists() and file.read_text().count("\n") > 1 for file in histories):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, told
    assert told.count("\n") == 1 and told.startswith(
        "Error: stopped, and what was trained is saved"
    )
    for run in (tmp_path / "0", tmp_path / "1"):
        assert finished_epochs(run) >= 1
        lock(run).close()
    assert not (tmp_path / "2").exists()


def test_the_view_of_all(tmp_path, monkeypatch):
    """What is done and what is left, by the histories, in a line no longer than the terminal."""
    trainings = {tmp_path / name: small_config(epochs=n) for name, n in (("a", 2), ("b", 4))}
    for run in trainings:
        run.mkdir()
    lines, terminal = [], io.StringIO()
    watch = Watch(trainings, {run: 50.0 for run in trainings}, lines.append, view=True)
    monkeypatch.setattr(watch, "terminal", True)
    monkeypatch.setattr(terminal, "fileno", lambda: 2, raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((60, 24)))
    monkeypatch.setattr(sys, "stderr", terminal)
    watch.start -= 30
    for run, n in zip(trainings, (2, 1)):
        rows = ["epoch,reconstruction_loss,seconds", *(f"{i + 1},1,1" for i in range(n))]
        (run / "history.csv").write_text("\n".join(rows))
    watch.look()
    # 62.5 of 100 expected seconds took 30.
    assert lines == [f"{tmp_path}/a: trained, 1 of 2; 0:18 left"]
    shown = terminal.getvalue().split("\x1b[K")[-1]
    assert shown == "1/2 trained, 0:18 left: b 1/4"


def test_one_section(small, call, tmp_path):
    """Its row with the settings that it names; it is trained once."""
    options = ["--quick", "--only", "6", "--out", tmp_path]
    assert call(paper_command.main, *options)[0] == 0
    table = (tmp_path / "results.md").read_text("utf-8")
    (cluster,) = (line.split(" | ") for line in table.splitlines() if line.startswith("| 6"))
    assert cluster[1:4] == ["30 clusters", "clusters named by one image each: told wrong", "4.10%"]
    for option in ("--mode clustering", "--clusters 30", "--validation 500", "--limit 1500"):
        assert option in cluster[-1]
    (history,) = tmp_path.glob("runs/*/history.csv")
    before = history.stat().st_mtime
    status, output = call(paper_command.main, *options)
    assert status == 0 and "1 of 1 trainings are there already" in output
    assert history.stat().st_mtime == before
    assert len(read_history(history.parent)["epoch"]) == 1


@pytest.mark.slow
def test_the_papers_table(small, call, tmp_path):
    """Every row of the sections."""
    options = ["--quick", "--only", "2.3,3,6,7", "--samples", 200, "--out", tmp_path]
    status, output = call(paper_command.main, *options)
    assert status == 0, output
    table = (tmp_path / "results.md").read_text("utf-8")
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    assert {row[0] for row in rows} == {"| 2.3", "| 3", "| 6", "| 7"}
    assert "t-SNE" in table and (tmp_path / paper.EMBEDDINGS).exists()
    with open(tmp_path / "results.csv", newline="") as file:
        every = list(csv.DictReader(file))
    # Without the two of scikit-learn.
    assert len(every) == len(rows) - 2
    assert {row["seed"] for row in every} == {"0"} and all(float(row["value"]) for row in every)
    assert len(list(tmp_path.glob("section_2.3_*_walks.png"))) == 1
    assert len(list(tmp_path.glob("runs/*/history.csv"))) == 5


def test_a_section_that_there_is_not(refused, tmp_path):
    message = refused(paper_command.main, "--only", "5,8", "--out", tmp_path / "out", code=2)
    assert "--only 8: expected some of 2.3, 3, 4, 5, 6, 7" in message
    assert not (tmp_path / "out").exists()


def test_every_experiment_can_be():
    for experiment in paper.EXPERIMENTS:
        config = experiment.config(2)
        # But for the images that choose the width of the window, section 3 is trained on all.
        kept_out = 1000 if experiment.section == "3" else 10_000
        assert config.seed == 2 and config.validation == kept_out
        assert set(experiment.numbers) <= set(paper.SHOWN)
