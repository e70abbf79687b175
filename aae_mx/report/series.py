"""Series of trainings: what is missing is trained, one after another or several at once."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from aae_mx.errors import AAEError, InputError, Interrupted
from aae_mx.files import free_memory
from aae_mx.hints import Config, Dataset
from aae_mx.text import say
from aae_mx.threads import usable_cores

# Processes of their own, each of which imports MXNet and reads the data, are not worth it for less.
FEW_SECONDS = 60
# Bytes that a training takes at least, with MNIST.
MEMORY = 1.5e9


def complete(
    trainings: dict[Path, Config], out: Path, quiet: bool = False, jobs: Optional[int] = None
) -> tuple[Dataset, set[Path]]:
    """Train what is missing of ``trainings``, {directory: Config}, which lie under ``out``.

    ``jobs``: so many at once, each in a process of its own with its share of the cores. None: as
    many as there are cores and memory, with one thread each; one after another where all together
    take less than FEW_SECONDS. One that fails does not keep the others from being trained. Returns
    the dataset and the set of directories that were trained. Raises InputError if a run there was
    trained with other settings or is damaged, if there is no room, and as ``fit``; all before the
    first training. AAEError at the end if some failed.
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
    if not missing:
        return dataset, set()
    seconds = _estimate(missing, left, dataset)
    jobs = min(jobs or _as_many_as_fit(sum(seconds.values())), len(missing))
    at_once = f", {jobs} at once" * (jobs > 1)
    minutes = sum(seconds.values()) / 60
    tell(f"Training the other {len(missing)} will take about {minutes:.0f} minutes{at_once}.")
    if jobs > 1:
        from aae_mx.report.apart import train_at_once

        threads = max(1, usable_cores() // jobs)
        failed = train_at_once(missing, jobs, threads, seconds, tell, not quiet)
    else:
        failed = {}
        for run, config in missing.items():
            try:
                _train(run, config, quiet, tell)
            except Interrupted:
                raise
            except AAEError as error:
                failed[run] = str(error)
                tell(f"{run}: failed; going on with the others")
    if failed:
        others = f" ({len(missing) - len(failed)} others were trained)"
        why = "; ".join(f"{run}: {why}" for run, why in failed.items())
        raise AAEError(f"{len(failed)} of {len(missing)} trainings failed{others}: {why}")
    return dataset, set(missing)


def _as_many_as_fit(seconds):
    """How many trainings at once are soonest done, of some that take so long in all."""
    if seconds < FEW_SECONDS:
        return 1
    free = free_memory()
    return max(1, min(usable_cores(), *([] if free is None else [int(free // MEMORY)])))


def _train(run, config, quiet, tell):
    from aae_mx.runs.directory import CONFIG
    from aae_mx.training.loop import fit, resume

    if (run / CONFIG).exists():
        tell(f"{run}: unfinished; going on with it")
        resume(run, quiet)
    else:
        fit(config, run, quiet)


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


def _estimate(missing, left, dataset):
    """Seconds that the epochs which are left of each take, by a few steps of each kind."""
    from aae_mx.model import make_mode
    from aae_mx.training.batches import images_per_epoch, n_training
    from aae_mx.training.loop import seconds_per_image

    seconds, per_image = {}, {}
    for run, config in missing.items():
        # Steps with labels take longer; whether all or some are given makes no difference.
        kind = (config.mode, config.labels_kind == "none", config.batch_size, config.optimizer)
        if kind not in per_image:
            per_image[kind] = seconds_per_image(config, dataset)
        mode = make_mode(config, dataset.image_shape, dataset.classes)
        images = images_per_epoch(mode, n_training(config, dataset))
        seconds[run] = per_image[kind] * images * left[run]
    return seconds
