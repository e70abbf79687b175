"""The training loop, written by hand with autograd. It knows no mode.

A mode records, goes back and steps its optimizers in ``step`` (modes/mode.py), and returns what it
measured as NDArrays that may not be computed yet: the host waits for the device at log intervals
only.
"""

from __future__ import annotations

import itertools
import json
import signal
import time
from typing import Any, Callable, Optional, Sequence

import numpy as np

from aae_mx.backend import mx
from aae_mx.data import load_dataset, on_disk
from aae_mx.data.arrays import settled
from aae_mx.data.scale import AS_PIXELS, Scale, measure
from aae_mx.errors import AAEError, ConfigError, InputError, Interrupted
from aae_mx.exchange import of_environment
from aae_mx.hints import Callback, Config, Dataset, Mode, PathLike
from aae_mx.model import AAE, check_data, check_room, describe, load_data, read_run
from aae_mx.runs.checkpoint import Position
from aae_mx.runs.directory import Run, Unwritten, check_new, default_path, go_on_with
from aae_mx.settings import IN_MEMORY
from aae_mx.training.batches import (
    check_workers,
    epoch_batches,
    images_per_epoch,
    n_training,
    steps_per_epoch,
    training_labels,
)
from aae_mx.training.callback import attach, call, check_callback
from aae_mx.training.optimizers import Learner
from aae_mx.training.progress import Progress
from aae_mx.training.stop import stop_signals

nd = mx.nd

# What workers have to have in common.
AGREED = "settings, version and data"
# Steps between two looks at the losses.
LOG_EVERY = 50
# Beyond these a training has diverged. Cross-entropies, in nats, are as large as the logits that
# are wrong: the largest of a healthy training was 20 (batches of one image), that of one which
# starts from ten times the usual weights 1,300, and of a pixel 1. Arrays of weights have a root
# mean square that was at most 1, as Adam moves a weight by little more than its rate. Codes are in
# units of the prior's largest, or of 1 where that is smaller, as an encoder starts there whatever
# the prior is: the largest were 200, in the first steps.
MAX_ENTROPY, MAX_WEIGHT, MAX_CODE = 10_000, 1000, 10_000


def train_epoch(
    mode: Mode,
    learn: Learner,
    images: Any,
    labels: Optional[np.ndarray],
    epoch: int,
    watch: Callable[[int, dict[str, float]], None],
    at: Optional[Position] = None,
    stop: Sequence[int] = (),
    scale: Scale = AS_PIXELS,
) -> tuple[int, dict[str, float]]:
    """Train on the batches of one epoch, see ``epoch_batches``.

    ``learn``: a Learner. ``at``: the Position from which to go on within it. ``stop``: a list; once
    something is in it, the current batch is the last. ``watch(step, means)`` is called at log
    intervals with the metrics' means so far. Returns the number of batches done, and the metrics'
    sums over their images, {metric: float}. Raises AAEError when the training diverges, see
    ``check_divergence``.
    """
    # Inference may still be laying out weights to its liking, which adam.c must not meet.
    nd.waitall()
    at, names = at or Position(), mode.metrics
    earlier = at.sums if mode.exchange.first else {}
    totals = np.array([earlier.get(name, 0.0) for name in names])
    sums = nd.array(totals, ctx=mode.ctx)
    steps, exchange = steps_per_epoch(mode, len(images)), mode.exchange
    # Only the last batch of an epoch is smaller. The first worker has what was before.
    counted = seen = at.step * mode.config.batch_size if exchange.first else 0
    batches = epoch_batches(mode, images, labels, epoch, scale, (exchange.rank, exchange.n))
    for step, batch in enumerate(itertools.islice(batches, at.step, None), start=at.step + 1):
        learn.at(epoch, batch.left, batch.share, batch.decoder_left)
        measured = mode.step(batch, learn)
        sums += len(batch.images) * nd.concat(*(measured[name] for name in names), dim=0)
        seen += len(batch.images)
        at_log = step % LOG_EVERY == 0 or step == steps
        # Several workers stop at the same step. A signal may come at any moment: it is looked for
        # once.
        stopping = (at_log or exchange.n == 1) and exchange.any(bool(stop))
        if at_log or stopping:
            # The only place in an epoch where the host waits for the device.
            before, totals = totals, sums.asnumpy()
            lately = dict(zip(names, ((totals - before) / (seen - counted)).tolist()))
            check_divergence(mode, lately, f"epoch {epoch}, step {step}")
            counted = seen
            watch(step, dict(zip(names, (totals / seen).tolist())))
        if stopping:
            break
    exchange.sum("metrics", [sums])
    return step, dict(zip(names, sums.asnumpy().tolist()))


def check_divergence(mode: Mode, means: dict[str, float], when: str) -> None:
    """Raise AAEError if a metric, a weight or a code is not finite or beyond reason, naming it.

    ``means``: of the metrics lately. They alone do not always tell: ReLU makes a NaN inside of a
    network 0, and a squared error has a largest value.
    """
    parameters = mode.parameters()
    weights = [parameter.data().reshape(-1) for parameter in parameters.values()]
    # Squared norms, as they are fast, and not finite if an entry is not.
    norms = nd.concat(*(nd.dot(weight, weight) for weight in weights), dim=0).asnumpy()
    means_of_squares = norms / [weight.size for weight in weights]
    prior, _ = mode.sample_prior(1000, np.random.default_rng(0))
    largest = max(1, np.abs(prior).max())
    pixels = mode.n_pixels if mode.config.reduction == "sum" else 1
    limits = [
        *(("the " + name, value, np.inf) for name, value in means.items()),
        *(
            # The running variances of batch normalisation are no weights.
            (
                "the " + name.replace("/", "'s "),
                value,
                np.inf if p.grad_req == "null" else MAX_WEIGHT,
            )
            for (name, p), value in zip(parameters.items(), np.sqrt(means_of_squares))
        ),
        ("the reconstruction_loss per pixel", means["reconstruction_loss"] / pixels, MAX_ENTROPY),
        *(("the " + n, value, MAX_ENTROPY) for n, value in means.items() if n.endswith("_entropy")),
        ("the largest code", np.abs(mode.codes.asnumpy()).max(), MAX_CODE * largest),
    ]
    for name, value, limit in limits:
        if not (np.isfinite(value) and value <= limit):
            what = f"is {value:.1e}, beyond reason" if np.isfinite(value) else "is no longer finite"
            raise AAEError(
                f"{when}: {name} {what}; the training has diverged. The last "
                "checkpoint is kept. Try a smaller --generator-rate, --discriminator-rate, "
                "--reconstruction-rate, --decoder-rate or --clip"
            )


def fit(
    config: Config,
    out: Optional[PathLike] = None,
    quiet: bool = False,
    checkpoint_every: int = 1,
    keep: int = 2,
    snapshots: bool = False,
    dataset: Optional[Dataset] = None,
    start: Optional[AAE] = None,
    callback: Optional[Callback] = None,
) -> AAE:
    """Train the model of a Config and leave it, with its history, in the directory ``out``.

    By default the directory is named after the run, under ``runs/``. A checkpoint is written
    every ``checkpoint_every`` epochs, at the end and on Ctrl-C or SIGTERM; the last ``keep``
    stay. ``snapshots``: keep the held-out codes before the first and after each epoch.
    ``dataset``: an ``aae_mx.Dataset`` to train on, instead of the one that the config names.
    ``start``: an AAE whose weights are the first ones, instead of random ones.
    ``callback(epoch, metrics)`` is called after each epoch with its row of the history, {name:
    float}, and can raise ``aae_mx.StopTraining`` to end the training; see
    ``aae_mx.training.callback``. Returns the trained ``aae_mx.model.AAE``; its ``run`` names the
    directory. Raises ConfigError and InputError for arguments and data that cannot be used, before
    anything is written, AAEError if the training diverges, and what the callback raises and
    Interrupted, once the state is saved.
    """
    check_callback(callback)
    exchange = of_environment()
    if exchange.first:
        check_new(out)
    config, dataset = prepared(config, dataset, quiet)
    # Refuses a number of labels that the data do not have, before anything is written.
    training_labels(config, dataset)
    model = AAE(config, dataset.image_shape, dataset.classes, dataset.feature_names)
    model.scale = measure(config.scale, dataset.train_images[: n_training(config, dataset)])
    if start is not None:
        _start_from(model, start)
    # A prior of the user's own may refuse its dimensions only when it draws.
    model.sample_prior(1, seed=0)
    check_room(out, [(model.mode, keep)])
    description = describe(model, dataset.fingerprint())
    exchange.agree(AGREED, json.dumps(description, sort_keys=True))
    made: Any = Unwritten(out or default_path(config.name))
    if exchange.first:
        made = Run.create(config.name, description, out, keep, snapshots)
    with made as run:
        model.run = run.path
        learn = Learner(model.mode)
        _train(run, model, learn, dataset, Position(), quiet, checkpoint_every, callback)
    return model


def prepared(
    config: Config, dataset: Optional[Dataset] = None, quiet: bool = False
) -> tuple[Config, Dataset]:
    """The Config and Dataset of a training: what arrays decide is then among the settings.

    Raises ConfigError for a ``dataset`` beside data that the config names, and as load_dataset.
    """
    if dataset is None:
        dataset = load_dataset(config, quiet)
    elif config.place_name is not None:
        raise ConfigError(config.place_name, config.place, "it cannot be given beside a dataset")
    else:
        config = config.replace(dataset=IN_MEMORY)
    return settled(config, dataset), dataset


def _start_from(model, other):
    """Give a model the weights of another, and its scale, if it has one that was measured.

    Raises InputError for one with other networks.
    """
    here, there = model.weights(), other.weights()
    if {n: a.shape for n, a in here.items()} != {n: a.shape for n, a in there.items()}:
        raise InputError(
            "the model to start from has other networks; mode, data and networks need to be the "
            "same"
        )
    model.set_weights(there)


def resume(
    path: PathLike,
    quiet: bool = False,
    checkpoint_every: int = 1,
    keep: int = 2,
    skip_damaged: bool = False,
    dataset: Optional[Dataset] = None,
    callback: Optional[Callback] = None,
    **changes: Any,
) -> AAE:
    """Go on with the run in the directory ``path`` where its last checkpoint is.

    The result is what the run would have become without the stop, bit for bit, on the same
    machine with as many threads. ``changes``: ``epochs``, to extend it, and ``ctx``; a linear
    decay then goes on along the line of the new length. ``images``, ``data_dir`` or ``data``: where
    the data are now, if they have been moved; or ``dataset``, if they are arrays in memory.
    ``skip_damaged``: where the last checkpoint is damaged, go on
    from the one before it. The rest as ``fit``. Raises ConfigError if all epochs are done,
    InputError if the data are not those of the run, a file is damaged or the run was made slim.
    """
    check_callback(callback)
    changes = {name: value for name, value in changes.items() if value is not None}
    # Before a lock is left in a directory that is no run's.
    fingerprint = read_run(path, changes, only_described=True).fingerprint
    exchange = of_environment()
    with Run.reopen(path, keep) if exchange.first else Unwritten(path) as run:
        model, learn, position = load_state(path, changes, skip_damaged)
        epochs = model.config.epochs
        if position.epoch >= epochs:
            raise ConfigError(
                "epochs", epochs, f"{path} has finished {position.epoch}; give more to extend it"
            )
        if dataset is None:
            dataset = load_data(model, quiet=quiet)
        else:
            check_data(model, dataset)
            dataset = dataset.with_classes(model.classes)
        if position == Position():
            n = n_training(model.config, dataset)
            model.scale = measure(model.config.scale, dataset.train_images[:n])
        steps = steps_per_epoch(model.mode, n_training(model.config, dataset))
        if position.step >= steps:
            raise InputError(
                f"{path}: its last checkpoint is at step {position.step} of epochs of {steps} steps"
            )
        description = describe(model, fingerprint)
        # All have read it before the first one writes.
        agreed = [description, position.epoch, position.step]
        exchange.agree(AGREED, json.dumps(agreed, sort_keys=True))
        run.go_on(description, position.epoch)
        _train(run, model, learn, dataset, position, quiet, checkpoint_every, callback)
    return model


def load_state(
    path: PathLike, changes: dict[str, Any], skip_damaged: bool = False
) -> tuple[AAE, Learner, Position]:
    """The model of a run, its Learner and the Position of its last checkpoint, to go on.

    ``changes`` are settings to change in its Config. Without a checkpoint yet, all are as at
    the start. Raises as ``load`` does, and InputError for a run that was made slim.
    """
    found = read_run(path, changes, skip_damaged)
    learn = Learner(found.model.mode)
    if found.position is None:
        return found.model, learn, Position()
    if found.slim:
        raise InputError(
            f"{path}: its optimizer states were removed by aae_mx.slim, so it cannot go on; it can "
            "only be used, or trained anew"
        )
    learn.set_state(found.arrays)
    return found.model, learn, found.position


def _train(run, model, learn, dataset, position, quiet, checkpoint_every, callback):
    """The epochs of a run that are still to do, from ``position`` on."""
    config, mode, first = model.config, model.mode, model.mode.exchange.first
    labels = training_labels(config, dataset)
    images = training_images(mode, dataset, model.scale)
    check_workers(mode, len(images))
    steps = steps_per_epoch(mode, len(images))
    done = position.epoch + position.step / steps
    log = run.path / "train.log" if first else None
    progress = Progress(mode, steps, done, quiet or not first, log)
    saved = None

    def save():
        nonlocal saved
        if saved != position:
            run.save(position, {**model.weights(), **learn.state()})
            saved = position

    def way_on():
        last = position.epoch == config.epochs
        return "it was the last" if last else f"go on with: {go_on_with(run.path)}"

    def snapshot(epoch):
        if run.keeps_snapshots:
            run.add_snapshot(epoch, model.encode(dataset.test_images))

    with progress, stop_signals() as stop:
        attach(callback, model, dataset)
        progress.line(
            f"{run.path}: {model.title}, {len(images):,} training {model.noun}, {config.epochs} "
            f"epochs of {steps} steps"
            + (f", from epoch {position.epoch}, step {position.step} on" * (position != Position()))
        )
        progress.line(f"recipe: {config.recipe_entry.title}")
        if (position.epoch, position.step) == (0, 0):
            snapshot(0)
        for epoch in range(position.epoch + 1, config.epochs + 1):
            start = time.monotonic() - position.seconds
            step, sums = train_epoch(
                mode,
                learn,
                images,
                labels,
                epoch,
                lambda step, means, epoch=epoch: progress.step(epoch, step, means),
                position,
                stop,
                model.scale,
            )
            if step < steps:
                position = Position(epoch - 1, step, sums, time.monotonic() - start)
            else:
                seen = images_per_epoch(mode, len(images))
                row = {
                    "epoch": epoch,
                    **{name: total / seen for name, total in sums.items()},
                    **(_held_out(model, dataset) if first else {}),
                    **(_validated(model, dataset) if first else {}),
                    "seconds": time.monotonic() - start,
                }
                position = Position(epoch)
                model.epoch = epoch
                # These first: if this ends in between, they are dropped and made again.
                run.add(row)
                snapshot(epoch)
                if epoch % checkpoint_every == 0 or epoch == config.epochs or stop:
                    save()
                progress.epoch(row)
                ending = call(callback, row, save, progress.aside)
            if mode.exchange.any(bool(stop)):
                save()
                mode.exchange.end()
                where = f"stopped after epoch {position.epoch}, step {position.step}, and saved"
                # It may be another worker that has got it.
                number = stop[0] if stop else signal.SIGTERM
                raise Interrupted(number, f"{where}; {way_on()}")
            if ending:
                save()
                progress.end(f"{ending} after epoch {epoch}, and saved; {way_on()}")
                break
        mode.exchange.end()


def _held_out(model, dataset):
    """What the history has of the held-out images; nothing where there are none."""
    if not len(dataset.test_images):
        return {}
    return {"held_out_l2": float(model.error_norms(*dataset.split("test")).mean())}


def _validated(model, dataset):
    """What the history has of the training images that were kept out of the training."""
    images, labels = dataset.kept_out(model.config.validation)
    if not (model.config.validation and len(labels)):
        return {}
    row = {"validation_l2": float(model.error_norms(images, labels).mean())}
    if model.mode.classifies and model.classes:
        kinds = model.classify(images)
        answers = kinds.argmax(axis=1)
        if model.mode.kinds != model.classes:
            # A cluster has the name of the image that is surest to be of it (paper, section 6).
            answers = labels[kinds.argmax(axis=0)][answers]
        row["validation_error"] = float((answers != labels).mean())
    return row


def training_images(mode: Mode, dataset: Dataset, scale: Scale) -> Any:
    """The images that ``epoch_batches`` takes: on the device, or those on the disk as they are."""
    images = dataset.train_images[: n_training(mode.config, dataset)]
    if on_disk(images):
        return images
    if images.dtype == np.uint8 and scale.offset is None:
        # Bytes stay bytes, a quarter of the memory: those of a batch become numbers in 0–1.
        return nd.array(images.reshape(len(images), -1), ctx=mode.ctx, dtype=np.uint8)
    return nd.array(scale.apply(images), ctx=mode.ctx)


def seconds_per_image(config: Config, dataset: Dataset) -> float:
    """Seconds that a training takes per image of its batches, by a few steps of another model."""
    model = AAE(config, dataset.image_shape, dataset.classes)
    mode = model.mode
    learn = Learner(mode)
    batches = epoch_batches(
        mode,
        training_images(mode, dataset, model.scale),
        training_labels(config, dataset),
        1,
        model.scale,
    )
    # The first steps include setting up, which a training does once.
    for _ in range(2):
        start, seen = time.monotonic(), 0
        for batch in itertools.islice(batches, 15):
            mode.step(batch, learn)
            nd.waitall()
            seen += len(batch.images)
        if not seen:
            # Fewer images than steps: the first ones have to do.
            break
        per_image = (time.monotonic() - start) / seen
    return per_image
