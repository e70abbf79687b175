"""The training loop, written by hand with autograd: three phases for every batch.

1. *Reconstruction*: encoder and decoder learn to give the image back.
2. *Discriminator*: it learns to tell codes of images, q(z), from samples of the prior, p(z).
3. *Generator*: the encoder learns to make it take its codes for prior samples.

With labels a small classifier may learn on the prior samples, too, for the third phase.

Source: Makhzani et al., section 2, and the post. Each phase function records, runs
backward, steps the optimizers of its networks, and returns what it measured as NDArrays
that may not be computed yet: the host waits for the device at log intervals only.
"""

from __future__ import annotations

import itertools
import signal
import threading
import time
from contextlib import contextmanager

import numpy as np

from aae_mx.backend import mx
from aae_mx.batches import epoch_batches, images_per_epoch, steps_per_epoch, training_labels
from aae_mx.data import load_dataset, to_unit
from aae_mx.errors import AAEError, ConfigError, InputError, Interrupted
from aae_mx.model import AAE
from aae_mx.networks import optimized_networks
from aae_mx.optimizer import Adam
from aae_mx.progress import Progress
from aae_mx.run import (
    METRICS,
    Position,
    Run,
    check_new,
    go_on_with,
    load_data,
    load_state,
    read_description,
)

autograd, nd = mx.autograd, mx.nd

# Steps between two looks at the losses.
LOG_EVERY = 50
# Beyond these a training has diverged. Cross-entropies, in nats, are as large as the logits that
# are wrong: the largest of a healthy training was 20 (batches of one image), that of one which
# starts from ten times the usual weights 1,300, and of a pixel 1. Arrays of weights have a root
# mean square that was at most 1, as Adam moves a weight by little more than its rate. Codes are in
# units of the prior's largest, or of 1 where that is smaller, as an encoder starts there whatever
# the prior is: the largest were 200, in the first steps.
MAX_ENTROPY, MAX_WEIGHT, MAX_CODE = 10_000, 1000, 10_000
ENTROPIES = ("discriminator_entropy", "generator_entropy")
# From which probability on the classifier is taken at its word; Sohn et al. have 0.95.
SURE = 0.9


def reconstruction_phase(model, optimizers, images, encoder_rate, decoder_rate, hidden_noise=None):
    """Train encoder and decoder to give ``images`` (N, pixels) back.

    ``hidden_noise`` is that of a NoisyEncoder, or None. Returns the codes (N, code_dim),
    detached, the loss and the mean L2 norm of x̂ − x.
    """
    with autograd.record():
        codes = _encode(model, images, hidden_noise)
        loss, l2 = model.reconstruction_loss(model.decoder(codes), images)
    loss.backward()
    optimizers["encoder"].step(encoder_rate)
    optimizers["decoder"].step(decoder_rate)
    return codes.detach(), loss, l2


def discriminator_phase(model, optimizers, codes, prior_codes, condition, rate):
    """Train the discriminator to answer 0 for ``codes`` and 1 for ``prior_codes``.

    Both are (N, code_dim) and detached from the encoder, which must not learn here;
    ``condition`` is the one-hot that both share, (N, n_conditions), or None. Returns the mean
    cross-entropy and the accuracy over both.
    """
    n = len(codes)
    targets = nd.concat(nd.zeros((n, 1), codes.context), nd.ones((n, 1), codes.context), dim=0)
    inputs = nd.concat(codes, prior_codes, dim=0)
    if condition is not None:
        condition = nd.concat(condition, condition, dim=0)
    with autograd.record():
        entropy, accuracy = model.adversarial_loss(_discriminate(model, inputs, condition), targets)
        # The original adds the gradients of two passes, each a mean over its N codes; this is
        # the mean over 2 N.
        loss = 2 * entropy
    loss.backward()
    optimizers["discriminator"].step(rate)
    return entropy, accuracy


def classifier_phase(model, optimizers, prior_codes, pieces, rate):
    """Train the classifier to tell the ``pieces`` (N, labels), one-hot, of ``prior_codes``."""
    with autograd.record():
        loss = model.label_loss(model.classifier(prior_codes), pieces)
    loss.backward()
    optimizers["classifier"].step(rate)


def pseudo_labels(model, codes, condition):
    """What the classifier is sure of for the ``codes`` of images without a label.

    One-hot, (N, labels); zeros for images that have one by ``condition``, and where it is not
    sure. Source: Lee, Pseudo-Label (2013); that the encoder then has to answer so for the image
    changed more strongly is from Sohn et al., FixMatch (2020).
    """
    unlabelled = condition[:, len(model.classes) :]
    return (nd.softmax(model.classifier(codes)) > SURE) * unlabelled


def generator_phase(
    model, optimizers, images, code_noise, condition, rate, hidden_noise=None, guesses=None
):
    """Train the encoder to make the discriminator answer 1 for its codes.

    ``code_noise`` (N, code_dim) is added to the codes, as it was to the discriminator's
    inputs in its own phase; or None. ``hidden_noise`` is that of a NoisyEncoder, or None. Where
    there is a classifier, the encoder also learns to make it tell the label of each labelled
    image, as the generator in Odena et al., Conditional Image Synthesis with Auxiliary Classifier
    GANs (2017); ``guesses`` (N, labels), or None, are added to the labels that it has to tell.
    Returns the discriminator's cross-entropy and the share of codes that fool it.
    """
    with autograd.record():
        # Encoded afresh: the encoder has changed since the reconstruction phase, and this
        # time the gradient must reach it.
        codes = _encode(model, images, hidden_noise)
        if code_noise is not None:
            codes = codes + code_noise
        entropy, fooled = model.adversarial_loss(
            _discriminate(model, codes, condition), nd.ones((len(codes), 1), codes.context)
        )
        loss = entropy
        if model.classifier is not None:
            # Without the entry that says "unknown".
            labels = condition[:, : len(model.classes)]
            if guesses is not None:
                labels = labels + guesses
            label_loss = model.label_loss(model.classifier(codes), labels)
            loss = loss + model.config.classifier_weight * label_loss
    loss.backward()
    optimizers["generator"].step(rate)
    return entropy, fooled


def _encode(model, images, noise):
    return model.encoder(images) if noise is None else model.noisy_encoder(images, noise)


def _discriminate(model, codes, condition):
    return model.discriminator(codes, *(() if condition is None else (condition,)))


def build_optimizers(model):
    """One Adam per network, and one more for the encoder in its generator phase or the same."""
    config = model.config
    optimizers = {
        name: Adam(network, config.beta1, config.beta2, config.epsilon, config.clip)
        for name, network in optimized_networks(model).items()
    }
    optimizers.setdefault("generator", optimizers["encoder"])
    return optimizers


def train_step(model, optimizers, batch, latest=None):
    """The phases on one Batch. Returns the METRICS as an NDArray.

    ``latest``: a dictionary that gets the ``codes`` of the batch, (N, code_dim).
    """
    config = model.config
    scale = batch.left if config.decay == "linear" else 1.0
    codes, *reconstruction = reconstruction_phase(
        model,
        optimizers,
        batch.images,
        scale * config.reconstruction_rate,
        scale * config.decoder_rate,
        batch.hidden_noise,
    )
    if latest is not None:
        latest["codes"] = codes
    for turn in range(config.discriminator_steps):
        discriminator = discriminator_phase(
            model,
            optimizers,
            codes if batch.code_noise is None else codes + batch.code_noise[:, turn],
            batch.prior_codes[:, turn],
            batch.condition,
            scale * config.discriminator_rate,
        )
    if model.classifier is not None:
        rate = scale * config.discriminator_rate
        classifier_phase(model, optimizers, batch.prior_codes[:, 0], batch.pieces, rate)
    guesses = None
    if config.pseudo_labels:
        weight = (1 - batch.left) * config.pseudo_label_weight
        guesses = weight * pseudo_labels(model, codes, batch.condition)
    generator = generator_phase(
        model,
        optimizers,
        batch.generator_images,
        batch.generator_noise,
        batch.condition,
        scale * config.generator_rate,
        batch.generator_hidden_noise,
        guesses,
    )
    return nd.concat(*reconstruction, *discriminator, *generator, dim=0)


def train_epoch(model, optimizers, images, labels, epoch, watch, at=None, stop=()):
    """Train on the batches of one epoch, see ``epoch_batches``.

    ``at``: the Position from which to go on within it. ``stop``: a list; once something is in
    it, the current batch is the last. ``watch(step, means)`` is called at log intervals with
    the metrics' means so far. Returns the number of batches done, and the metrics' sums over
    their images as a tuple. Raises AAEError when the training diverges, see ``check_divergence``.
    """
    # Inference may still be laying out weights to its liking, which adam.c must not meet.
    nd.waitall()
    at = at or Position()
    sums = nd.array(at.sums, ctx=model.ctx)
    steps = steps_per_epoch(model.config, len(images))
    # Only the last batch of an epoch is smaller.
    seen = at.step * model.config.batch_size
    totals, counted, latest = np.array(at.sums), seen, {}
    batches = epoch_batches(model, images, labels, epoch)
    for step, batch in enumerate(itertools.islice(batches, at.step, None), start=at.step + 1):
        sums += len(batch.images) * train_step(model, optimizers, batch, latest)
        seen += len(batch.images)
        if step % LOG_EVERY == 0 or step == steps or stop:
            # The only place in an epoch where the host waits for the device.
            before, totals = totals, sums.asnumpy()
            lately = dict(zip(METRICS, ((totals - before) / (seen - counted)).tolist()))
            check_divergence(model, lately, latest["codes"], f"epoch {epoch}, step {step}")
            counted = seen
            watch(step, dict(zip(METRICS, (totals / seen).tolist())))
        if stop:
            break
    return step, tuple(sums.asnumpy().tolist())


def check_divergence(model, means, codes, when):
    """Raise AAEError if a metric, a weight or a code is not finite or beyond reason, naming it.

    ``means``: of the METRICS lately; ``codes``: of a batch. The metrics alone do not always tell:
    ReLU makes a NaN inside of a network 0, and a squared error has a largest value.
    """
    parameters = model.parameters()
    weights = [parameter.data().reshape(-1) for parameter in parameters.values()]
    # Squared norms, as they are fast, and not finite if an entry is not.
    norms = nd.concat(*(nd.dot(weight, weight) for weight in weights), dim=0).asnumpy()
    means_of_squares = norms / [weight.size for weight in weights]
    prior, _ = model.sample_prior(1000, seed=0)
    pixels = model.n_pixels * model.reconstruction_loss.scale
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
        *(("the " + name, means[name], MAX_ENTROPY) for name in ENTROPIES),
        ("the largest code", np.abs(codes.asnumpy()).max(), MAX_CODE * max(1, np.abs(prior).max())),
    ]
    for name, value, limit in limits:
        if not (np.isfinite(value) and value <= limit):
            what = f"is {value:.1e}, beyond reason" if np.isfinite(value) else "is no longer finite"
            raise AAEError(
                f"{when}: {name} {what}; the training has diverged. The last "
                "checkpoint is kept. Try a smaller --generator-rate, --discriminator-rate, "
                "--reconstruction-rate, --decoder-rate or --clip"
            )


def fit(config, out=None, quiet=False, checkpoint_every=1, keep=2, snapshots=False):
    """Train the model of a Config and leave it, with its history, in the directory ``out``.

    By default the directory is named after the run, under ``runs/``. A checkpoint is written
    every ``checkpoint_every`` epochs, at the end and on Ctrl-C or SIGTERM; the last ``keep``
    stay. ``snapshots``: keep the held-out codes before the first and after each epoch. Returns
    the trained ``aae_mx.model.AAE``; its ``run`` names the directory. Raises ConfigError and
    InputError for settings and data that cannot be used, before anything is written, AAEError
    if the training diverges, and Interrupted, once the state is saved.
    """
    check_new(config, out)
    dataset = load_dataset(config, quiet)
    # Refuses a number of labels that the data do not have, before anything is written.
    training_labels(config, dataset)
    model = AAE(config, dataset.image_shape, dataset.classes)
    with Run.create(model, dataset.fingerprint(), out, keep, snapshots) as run:
        model.run = run.path
        optimizers = build_optimizers(model)
        _train(run, model, optimizers, dataset, Position(), quiet, checkpoint_every)
    return model


def resume(path, quiet=False, checkpoint_every=1, keep=2, skip_damaged=False, **changes):
    """Go on with the run in the directory ``path`` where its last checkpoint is.

    The result is what the run would have become without the stop, bit for bit, on the same
    machine with as many threads. ``changes``: ``epochs``, to extend it, and ``ctx``; a linear
    decay then goes on along the line of the new length. ``images`` or ``data_dir``: where the data
    are now, if they have been moved. ``skip_damaged``: where the last checkpoint is damaged, go on
    from the one before it. The rest as ``fit``. Raises ConfigError if all epochs are done,
    InputError if the data are not those of the run, a file is damaged or the run was made slim.
    """
    description = read_description(path)
    changes = {name: value for name, value in changes.items() if value is not None}
    # Refuses a place that the run cannot have.
    description["config"].moved(changes.get("images"), changes.get("data_dir"))
    with Run.reopen(path, keep) as run:
        model, optimizers, position = load_state(path, changes, build_optimizers, skip_damaged)
        epochs = model.config.epochs
        if position.epoch >= epochs:
            raise ConfigError(
                "epochs", epochs, f"{path} has finished {position.epoch}; give more to extend it"
            )
        dataset = load_data(model, quiet=quiet)
        steps = steps_per_epoch(model.config, len(dataset.train_images))
        if position.step >= steps:
            raise InputError(
                f"{path}: its last checkpoint is at step {position.step} of epochs of {steps} steps"
            )
        run.go_on(model, description["data"], position.epoch)
        _train(run, model, optimizers, dataset, position, quiet, checkpoint_every)
    return model


def _train(run, model, optimizers, dataset, position, quiet, checkpoint_every):
    """The epochs of a run that are still to do, from ``position`` on."""
    config = model.config
    labels = training_labels(config, dataset)
    images = training_images(model, dataset)
    steps = steps_per_epoch(config, len(images))
    log = run.path / "train.log"
    progress = Progress(config.epochs, steps, position.epoch, quiet, log)
    with progress, stop_signals() as stop:
        progress.line(
            f"{run.path}: {config.prior}, {config.formulation}, {len(images):,} training "
            f"images, {config.epochs} epochs of {steps} steps"
            + (f", from epoch {position.epoch}, step {position.step} on" * (position != Position()))
        )
        if (position.epoch, position.step) == (0, 0):
            run.keep_snapshot(0, model, dataset)
        for epoch in range(position.epoch + 1, config.epochs + 1):
            start = time.monotonic() - position.seconds
            step, sums = train_epoch(
                model,
                optimizers,
                images,
                labels,
                epoch,
                lambda step, means, epoch=epoch: progress.step(epoch, step, means),
                position,
                stop,
            )
            if step < steps:
                position = Position(epoch - 1, step, sums, time.monotonic() - start)
                run.save(position, model, optimizers)
            else:
                seen = images_per_epoch(config, len(images))
                row = {
                    "epoch": epoch,
                    **{name: total / seen for name, total in zip(METRICS, sums)},
                    "held_out_l2": float(model.error_norms(dataset.test_images).mean()),
                    "seconds": time.monotonic() - start,
                }
                position = Position(epoch)
                model.epoch = epoch
                # These first: if this ends in between, they are dropped and made again.
                run.add(row)
                run.keep_snapshot(epoch, model, dataset)
                if epoch % checkpoint_every == 0 or epoch == config.epochs or stop:
                    run.save(position, model, optimizers)
                progress.epoch(row)
            if stop:
                raise Interrupted(
                    stop[0],
                    f"stopped after epoch {position.epoch}, step {position.step}, and saved; "
                    + (
                        f"go on with: {go_on_with(run.path)}"
                        if position.epoch < config.epochs
                        else "it was the last"
                    ),
                )


@contextmanager
def stop_signals():
    """A list that gets the number of the first SIGINT or SIGTERM; a second one acts as usual."""
    caught = []
    if threading.current_thread() is not threading.main_thread():
        # Signals reach the main thread only.
        yield caught
        return
    before = {}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number, frame):
        caught.append(number)
        restore()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        restore()


def training_images(model, dataset):
    """The images that ``epoch_batches`` takes: on the device, or those of a folder as they are."""
    if model.config.images is not None:
        return dataset.train_images
    return nd.array(to_unit(dataset.train_images), ctx=model.ctx)


def seconds_per_image(config, dataset):
    """Seconds that a training takes per image of its batches, by a few steps of another model."""
    model = AAE(config, dataset.image_shape, dataset.classes)
    optimizers = build_optimizers(model)
    images = training_images(model, dataset)
    batches = epoch_batches(model, images, training_labels(config, dataset), 1)
    # The first steps include setting up, which a training does once.
    for _ in range(2):
        start, seen = time.monotonic(), 0
        for batch in itertools.islice(batches, 15):
            train_step(model, optimizers, batch).wait_to_read()
            seen += len(batch.images)
        if not seen:
            # Fewer images than steps: the first ones have to do.
            break
        per_image = (time.monotonic() - start) / seen
    return per_image
