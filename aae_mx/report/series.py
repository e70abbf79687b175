"""Series of trainings: what is missing is trained, one after another or several at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from aae_mx.errors import AAEError, InputError
from aae_mx.hints import Config, Dataset
from aae_mx.text import say


def complete(
    trainings: dict[Path, Config], out: Path, quiet: bool = False, jobs: int = 1
) -> tuple[Dataset, set[Path]]:
    """Train what is missing of ``trainings``, {directory: Config}, which lie under ``out``.

    ``jobs``: so many at once, each in a process of its own with as few threads. Returns the dataset
    and the set of directories that were trained. Raises InputError if a run there was trained with
    other settings or is damaged, if there is no room, and as ``fit``; all before the first
    training.
    """
    from aae_mx.data import load_dataset
    from aae_mx.files import check_directory

    tell = (lambda text: None) if quiet else say
    check_directory(out / "runs")
    left = {run: epochs_left(run, config) for run, config in trainings.items()}
    missing = {run: config for run, config in trainings.items() if left[run]}
    dataset = load_dataset(next(iter(trainings.values())), quiet)
    _check(trainings, missing, dataset, out)
    tell(f"{len(trainings) - len(missing)} of {len(trainings)} trainings are there already.")
    if missing:
        minutes = _estimate(list(missing.values()), [left[run] for run in missing], dataset) / 60
        jobs = min(jobs, len(missing))
        at_once = f", {jobs} at once" * (jobs > 1)
        tell(f"Training the other {len(missing)} will take about {minutes:.0f} minutes{at_once}.")
    if jobs > 1:
        _train_at_once(missing, jobs, tell)
    else:
        for run, config in missing.items():
            _train(run, config, quiet, tell)
    return dataset, set(missing)


def _train(run, config, quiet, tell):
    from aae_mx.runs.directory import CONFIG
    from aae_mx.training.loop import fit, resume

    if (run / CONFIG).exists():
        tell(f"{run}: unfinished; going on with it")
        resume(run, quiet)
    else:
        fit(config, run, quiet)


def _train_at_once(missing, jobs, tell):
    """Each in a process of its own, as MXNet takes its threads when it is imported."""
    from joblib import Parallel, delayed

    from aae_mx.runs.directory import CONFIG

    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    running, lock, done = set(), threading.Lock(), []

    def train(run, config):
        command = [sys.executable, "-m", "aae_mx.train", "--quiet", "--no-figures"]
        with tempfile.TemporaryDirectory() as aside:
            if (run / CONFIG).exists():
                command += ["--resume", str(run)]
            else:
                settings = Path(aside, "config.json")
                given = {"config": config.to_dict(), "given": sorted(config.given)}
                settings.write_text(json.dumps(given), "utf-8")
                command += ["--config", str(settings), "--out", str(run)]
            process = subprocess.Popen(
                command, env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
            )
            with lock:
                running.add(process)
            _, told = process.communicate()
            with lock:
                running.remove(process)
        if process.returncode:
            lines = told.decode(errors="replace").strip().splitlines()
            why = lines[-1].removeprefix("Error: ") if lines else "its training failed"
            raise AAEError(f"{run}: {why}")
        done.append(run)
        tell(f"{run}: trained, {len(done)} of {len(missing)}")

    try:
        work = (delayed(train)(*item) for item in missing.items())
        Parallel(n_jobs=jobs, prefer="threads")(work)
    finally:
        # Whatever ended this: the others save what they have.
        with lock:
            left = list(running)
        for process in left:
            process.terminate()
        for process in left:
            process.wait()


def epochs_left(run: Path, config: Config) -> int:
    """How many epochs of the training of ``config`` the directory ``run`` still lacks."""
    from aae_mx.model import read_config
    from aae_mx.runs.checkpoint import finished_epochs
    from aae_mx.runs.directory import CONFIG

    if not (run / CONFIG).exists():
        return config.epochs
    there = read_config(run).to_dict()
    for name, wanted in config.to_dict().items():
        has = there.get(name)
        if has != wanted:
            raise InputError(
                f"{run}: it was trained with {name}={has!r}, not {wanted!r}; choose another "
                "--out, or remove it"
            )
    return config.epochs - finished_epochs(run)


def _check(trainings, missing, dataset, out):
    """Raise what the trainings would raise, before the first of them."""
    from aae_mx.model import check_room, load, make_mode
    from aae_mx.runs.directory import CONFIG, check_new
    from aae_mx.training.batches import training_labels
    from aae_mx.training.loop import load_state

    for run, config in trainings.items():
        training_labels(config, dataset)
        if not (run / CONFIG).exists():
            check_new(run)
        elif run in missing:
            load_state(run, {})
        else:
            load(run)
    shape, classes = dataset.image_shape, dataset.classes
    check_room(out, [(make_mode(config, shape, classes), 2) for config in missing.values()])


def _estimate(configs, epochs, dataset):
    """Seconds that so many epochs of each config will take, by a few steps of each kind."""
    from aae_mx.model import make_mode
    from aae_mx.training.batches import images_per_epoch, n_training
    from aae_mx.training.loop import seconds_per_image

    seconds, per_image = 0, {}
    for config, n in zip(configs, epochs):
        # Steps with labels take longer; whether all or some are given makes no difference.
        kind = (config.mode, config.labels_kind == "none", config.batch_size, config.optimizer)
        if kind not in per_image:
            per_image[kind] = seconds_per_image(config, dataset)
        mode = make_mode(config, dataset.image_shape, dataset.classes)
        seconds += per_image[kind] * images_per_epoch(mode, n_training(config, dataset)) * n
    return seconds
