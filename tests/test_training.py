from types import SimpleNamespace

import numpy as np
import pytest
from conftest import small_config, small_options

from aae_mx import Config, fit, load, train
from aae_mx.backend import mx
from aae_mx.data import load_dataset, to_unit
from aae_mx.errors import AAEError, ConfigError
from aae_mx.model import AAE
from aae_mx.modes import label_prior
from aae_mx.networks import noise
from aae_mx.networks.build import parameters, trained_parameters
from aae_mx.networks.losses import AdversarialLoss, LabelLoss, ReconstructionLoss
from aae_mx.runs.checkpoint import checkpoints
from aae_mx.runs.history import read_history
from aae_mx.training import batches
from aae_mx.training import loop as training
from aae_mx.training.optimizers import Learner

nd = mx.nd

RATES = ("reconstruction_rate", "decoder_rate", "discriminator_rate", "generator_rate")
# Every kind of training, {name: settings}: what all of them have to keep is tested over it.
KINDS = {
    "unsupervised": {},
    "supervised": {"prior": "uniform", "labels": "all"},
    "one Adam": {"prior": "uniform", "labels": "all", "encoder_adam": "shared"},
    "without classifier": {"prior": "swiss_roll", "labels": "all", "classifier_weight": 0.0},
    "semi-supervised": {"prior": "gaussian_mixture", "labels": 20},
    "SGD": {"prior": "uniform", "labels": 20, "optimizer": "sgd"},
    "classification": {"mode": "classification", "labels": 20},
    "classification, all": {"mode": "classification", "labels": "all", "prior": "swiss_roll"},
    "classification, paper": {"mode": "classification", "labels": 20, "recipe": "paper"},
    "style": {"mode": "style"},
    "style, label beside": {"mode": "style", "label_discriminator": True, "hidden_noise": 0.2},
    "clustering": {"mode": "clustering", "clusters": 12},
    "clustering, plain": {"mode": "clustering", "consistency_weight": 0.0},
    "reduction": {"mode": "reduction", "clusters": 4},
    "reduction, labels": {"mode": "reduction", "labels": 20},
    "reduction, fixed heads": {
        **{"mode": "reduction", "labels": "all", "code_dim": 10, "fixed_heads": True},
    },
    "convolutions": {
        "arch": "conv",
        "hidden": None,
        "filters": 4,
        "prior": "uniform",
        "labels": 20,
    },
    "classification, convolutions": {
        **{"arch": "conv", "hidden": None, "filters": 4, "mode": "classification", "labels": 20},
    },
}


def kind_model(kind, **settings):
    """A model of a kind, of images that its networks can have."""
    config = small_config(**{**KINDS[kind], **settings})
    return AAE(config, (8, 8) if config.arch == "conv" else (4, 5), "0123456789")


def prepared(labels="all", **settings):
    """A label_prior mode, its Learner, images, codes of the prior and a condition of labels."""
    rates = dict.fromkeys(RATES, 0.01)
    config = small_config(prior="uniform", labels=labels, init_std=0.1, **{**rates, **settings})
    mode = AAE(config, (4, 5), "0123456789").mode
    rng = np.random.default_rng(0)
    images = nd.array(rng.random((6, 20)))
    prior_codes = nd.array(rng.standard_normal((6, 2)))
    n_conditions = mode.networks["discriminator"].n_conditions
    condition = nd.array(np.eye(n_conditions)[rng.integers(10, size=6)])
    return mode, Learner(mode), images, prior_codes, condition


def fool(mode, learn, images, condition, guesses=None):
    return mode.generator_phase(images, batches.Batch(condition=condition), guesses, learn)


def values(mode):
    return {
        name: {key: p.data().asnumpy() for key, p in parameters(network).items()}
        for name, network in mode.networks.items()
    }


def changed(before, after):
    """The networks of which every array has changed; none may have changed in part."""
    names = set()
    for name in before:
        differ = {key: (before[name][key] != after[name][key]).any() for key in before[name]}
        assert len(set(differ.values())) == 1, f"{name}: {differ}"
        if all(differ.values()):
            names.add(name)
    return names


class Watched(Learner):
    """A Learner that keeps, for each call, what it was to move and the networks that changed."""

    def __init__(self, mode):
        super().__init__(mode)
        self.calls = []

    def __call__(self, loss, *names, **share):
        before = values(self.mode)
        super().__call__(loss, *names, **share)
        moved = {network for name in names for network in self.mode.optimizers[name].networks}
        self.calls.append((names, moved, changed(before, values(self.mode))))


def one_batch(mode, n=60, epoch=1):
    """The first batch of random images of an epoch; every tenth image has each label."""
    rng = np.random.default_rng(0)
    images, labels = nd.array(rng.random((n, mode.n_pixels))), None
    if mode.config.labels_kind != "none":
        labels = np.arange(n) % 10
        if mode.config.labels_kind == "some":
            labels[20:] = 10
    return next(batches.epoch_batches(mode, images, labels, epoch))


@pytest.mark.parametrize("kind", KINDS)
def test_each_phase_changes_exactly_its_networks(kind):
    mode = kind_model(kind, init_std=0.1).mode
    learn = Watched(mode)
    measured = mode.step(one_batch(mode), learn)
    assert tuple(measured) == mode.metrics
    assert all(np.isfinite(value.asscalar()) for value in measured.values())
    assert mode.codes.shape[1] == mode.code_dim and np.isfinite(mode.codes.asnumpy()).all()
    for names, moved, differ in learn.calls:
        assert differ == moved, names
    # Every optimizer has its turn, and every network learns.
    assert {name for names, _, _ in learn.calls for name in names} == set(mode.optimizers)
    assert set.union(*(moved for _, moved, _ in learn.calls)) == set(mode.networks)


@pytest.mark.parametrize("kind", KINDS)
def test_no_time_goes_into_gradients_that_nothing_follows(kind):
    mode = kind_model(kind).mode
    gradients = {
        name: [p.grad() for p in trained_parameters(network).values()]
        for name, network in mode.networks.items()
    }

    class Marked(Learner):
        def __call__(self, loss, *names, **share):
            for array in (array for arrays in gradients.values() for array in arrays):
                array[:] = 7
            super().__call__(loss, *names, **share)
            moved = {network for name in names for network in self.mode.optimizers[name].networks}
            for name, arrays in gradients.items():
                written = {bool((array.asnumpy() != 7).any()) for array in arrays}
                assert written <= {name in moved}, (names, name)

    mode.step(one_batch(mode), Marked(mode))


@pytest.mark.parametrize("kind", KINDS)
def test_phases_as_one_operation_learn_what_their_parts_do(kind, monkeypatch):
    """A graph with memory of its own, and with noise in it, has had a wrong gradient of MXNet."""
    settings = {"optimizer": "sgd", "code_noise": 0.3, "code_noise_decay": "linear"}
    if KINDS[kind].get("arch") != "conv":
        settings["hidden_noise"] = 0.2
    learnt, measured = [], []
    for hybridize in (mx.gluon.HybridBlock.hybridize, lambda *given, **more: None):
        monkeypatch.setattr(mx.gluon.HybridBlock, "hybridize", hybridize)
        mode = kind_model(kind, **settings).mode
        learn = Learner(mode)
        for epoch in (1, 2):
            told = mode.step(one_batch(mode, epoch=epoch), learn)
        learnt.append(values(mode))
        measured.append([told[name].asscalar() for name in mode.metrics])
    np.testing.assert_allclose(*measured, rtol=1e-4, atol=1e-6)
    for name, arrays in learnt[0].items():
        for key, array in arrays.items():
            np.testing.assert_allclose(array, learnt[1][name][key], rtol=1e-3, atol=1e-6)


def test_a_phase_with_less_than_before(monkeypatch):
    """What it is given may change from call to call, and so may the number of images."""
    mode, learn, images, _, condition = prepared(labels=20)
    guesses = nd.zeros((6, 10))
    first = fool(mode, lambda *given: None, images, condition, guesses)
    again = fool(mode, lambda *given: None, images, condition)
    few = fool(mode, lambda *given: None, images[:4], condition[:4])
    assert first[0].asscalar() == again[0].asscalar() != few[0].asscalar()
    with mx.autograd.pause():
        codes = mode.encode(images[:4])
        expected, _ = mode.game.fool(codes, condition[:4])
    assert few[0].asscalar() == pytest.approx(expected.asscalar(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_using_a_model_changes_nothing(kind):
    model = kind_model(kind, init_std=0.1)
    images = np.random.default_rng(0).random((6, model.n_pixels))
    before = values(model.mode)
    model.encode(images)
    model.reconstruct(images, np.arange(6))
    model.sample(5, seed=0)
    if model.mode.classifies:
        assert model.classify(images).sum(axis=1) == pytest.approx(1)
    assert changed(before, values(model.mode)) == set()


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if Config(**KINDS[kind]).labels_kind != "none"]
)
def test_labels_reach_the_encoder(kind):
    """The same batch with other labels leaves another encoder."""
    results = []
    for shift in (0, 1):
        mode = kind_model(kind, init_std=0.1).mode
        batch = one_batch(mode)
        for name in ("condition", "labels"):
            if name in batch:
                # The last column says "unknown", where there is one.
                rows = batch[name].asnumpy()
                rows[:, :10] = np.roll(rows[:, :10], shift, axis=1)
                batch[name] = nd.array(rows)
        mode.step(batch, Learner(mode))
        results.append(values(mode)["encoder"])
    assert any((results[0][key] != results[1][key]).any() for key in results[0])


@pytest.mark.parametrize("kind", KINDS)
def test_state_goes_into_arrays_and_back(kind):
    from aae_mx.training.optimizers import state_shapes

    mode = kind_model(kind).mode
    learn, other = Learner(mode), Learner(mode)
    mode.step(one_batch(mode), learn)
    state = learn.state()
    shapes = {name: (array.dtype.str, array.shape) for name, array in state.items()}
    assert shapes == state_shapes(mode)
    other.set_state(state)
    for name, array in other.state().items():
        np.testing.assert_array_equal(array, state[name])
    assert any(array.any() for name, array in state.items() if not name.endswith("steps"))


def test_generator_gradient_reaches_the_first_layer_of_the_encoder():
    mode, learn, images, _, condition = prepared()
    fool(mode, learn, images, condition)
    gradient = parameters(mode.networks["encoder"])["layers.0.weight"].grad().asnumpy()
    assert np.abs(gradient).max() > 0


def test_generator_learns_to_fool_and_discriminator_to_tell():
    mode, learn, images, prior_codes, condition = prepared()
    codes = mode.encode(images)
    first = [mode.discriminator_phase(codes, prior_codes, condition, learn) for _ in range(60)]
    assert first[-1][0].asscalar() < first[0][0].asscalar() - 0.1
    assert first[-1][1].asscalar() > 0.9
    fooled = [fool(mode, learn, images, condition) for _ in range(60)]
    assert fooled[-1][0].asscalar() < fooled[0][0].asscalar() - 0.1


@pytest.mark.parametrize("known", [True, False])
def test_the_classifier_pulls_codes_of_images_to_the_pieces_of_their_labels(known):
    """Of labels that are known, and of pseudo-labels."""
    mode, learn, images, _, condition = prepared("all" if known else 10, generator_rate=0.003)
    labels, guesses = condition[:, :10], None
    if not known:
        guesses, condition = labels, nd.one_hot(nd.array([10] * len(images)), 11)
    drawn = mode.sample_prior(1000, np.random.default_rng(0))
    codes, pieces = (nd.array(values) for values in drawn)
    for _ in range(100):
        mode.classifier_phase(codes, nd.one_hot(pieces, 10), learn)
    told = mode.classifier(codes).argmax(axis=1)
    assert (told == pieces).mean().asscalar() > 0.8

    # Without a discriminator that tells anything.
    for parameter in parameters(mode.networks["discriminator"]).values():
        parameter.set_data(nd.zeros(parameter.shape))

    def loss():
        return mode.label_loss(mode.classifier(mode.encode(images)), labels).asscalar()

    first = loss()
    for _ in range(100):
        fool(mode, learn, images, condition, guesses)
    assert loss() < 0.5 * first


def test_pseudo_labels_are_what_the_classifier_is_sure_of():
    # Softmaxes of (0.95, 0.05), (0.05, 0.95), (0.85, 0.15) and (0.95, 0.05); the last has a label.
    logits = nd.log(nd.array([[19, 1], [1, 19], [17, 3], [19, 1]]))
    mode = SimpleNamespace(classes="01", classifier={"codes": logits}.get)
    condition = nd.array([[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 1, 0]])
    guesses = label_prior.LabelPrior.guess(mode, "codes", condition)
    np.testing.assert_array_equal(guesses.asnumpy(), [[1, 0], [0, 1], [0, 0], [0, 0]])


def test_pseudo_labels_gain_weight(monkeypatch):
    mode, learn, *_ = prepared(10, pseudo_label_weight=0.5, epochs=1, batch_size=20)
    images, labels = nd.random.uniform(shape=(60, 20)), np.arange(60) // 6
    labels[10:] = 10
    given = []

    def watched(*arguments):
        given.append(arguments[2].asnumpy())
        return phase(*arguments)

    phase = mode.generator_phase
    monkeypatch.setattr(mode, "generator_phase", watched)
    monkeypatch.setattr(label_prior, "SURE", 0)
    training.train_epoch(mode, learn, images, labels, 1, lambda step, means: None)
    # Four steps, of 15 of the images and 5 of those with a label; with SURE at 0, any guess.
    assert [values.max() for values in given] == pytest.approx([0, 0.125, 0.25, 0.375])
    assert all(not values[15:].any() for values in given)


# Losses, worked by hand.


def test_label_loss():
    # Of (0, ln 3) the softmax is (0.25, 0.75); the third row has no label.
    logits = nd.array([[0, np.log(3)], [0, np.log(3)], [5, -5]])
    loss = LabelLoss()(logits, nd.array([[1, 0], [0, 1], [0, 0]]))
    assert loss.asscalar() == pytest.approx(-(np.log(0.25) + np.log(0.75)) / 3, rel=1e-5)


def test_squared_error():
    # σ(0) = 0.5, σ(ln 3) = 0.75: ½ (0.5² + 0.25²) = 0.15625 and ½ (0.5² + 0.75²) = 0.40625.
    logits = nd.array([[0, np.log(3)], [0, np.log(3)]])
    images = nd.array([[0, 1], [1, 0]])
    loss, l2 = ReconstructionLoss("squared_error")(logits, images)
    assert loss.asscalar() == pytest.approx((0.15625 + 0.40625) / 2, rel=1e-6)
    assert l2.asscalar() == pytest.approx((0.3125**0.5 + 0.8125**0.5) / 2, rel=1e-6)
    half, _ = ReconstructionLoss("squared_error", scale=0.5)(logits, images)
    assert half.asscalar() == pytest.approx(loss.asscalar() / 2)


def test_measuring_l2_leaves_the_gradient_alone():
    """Also at a perfect reconstruction, where the norm itself has none."""
    logits = nd.array([[0.0, np.log(3)], [1.0, 0.0]])
    images = nd.array([[0.5, 0.75], [0.25, 1.0]])
    logits.attach_grad()
    with mx.autograd.record():
        loss, l2 = ReconstructionLoss("squared_error")(logits, images)
    loss.backward()
    decoded = 1 / (1 + np.exp(-logits.asnumpy()))
    expected = (decoded - images.asnumpy()) * decoded * (1 - decoded) / 2
    np.testing.assert_allclose(logits.grad.asnumpy(), expected, atol=1e-6)


def test_cross_entropy():
    # −ln 0.5 = 0.693147; target 0.25 at σ = 0.75: −0.25 ln 0.75 − 0.75 ln 0.25 = 1.111641.
    logits, targets = nd.array([[0], [np.log(3)]]), nd.array([[1], [0.25]])
    entropy, _ = AdversarialLoss()(logits, targets)
    assert entropy.asscalar() == pytest.approx((0.693147 + 1.111641) / 2, rel=1e-5)
    loss, _ = ReconstructionLoss("cross_entropy")(logits.T, targets.T)
    assert loss.asscalar() == pytest.approx(0.693147 + 1.111641, rel=1e-5)


def test_cross_entropy_stays_finite():
    logits = nd.array([[1000], [-1000], [1000], [-1000]])
    entropy, accuracy = AdversarialLoss()(logits, nd.array([[1], [0], [0], [1]]))
    assert (entropy.asscalar(), accuracy.asscalar()) == (500, 0.5)


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 1), ("mean", 1 / 20)])
@pytest.mark.parametrize("reconstruction", ["squared_error", "cross_entropy"])
def test_reconstruction_phase_reports_its_loss(reduction, factor, reconstruction):
    mode, learn, images, _, _ = prepared(reduction=reduction, reconstruction=reconstruction)
    x = images.asnumpy()
    decoded = mode.decode(mode.encode(images)).asnumpy().astype(float)
    loss, l2 = mode.reconstruction_phase(images, None, learn)
    if reconstruction == "squared_error":
        expected = 0.5 * ((decoded - x) ** 2).sum(axis=1).mean()
    else:
        entropy = -x * np.log(decoded) - (1 - x) * np.log(1 - decoded)
        expected = entropy.sum(axis=1).mean()
    assert loss.asscalar() == pytest.approx(factor * expected, rel=1e-4)
    assert l2.asscalar() == pytest.approx(np.linalg.norm(decoded - x, axis=1).mean(), rel=1e-4)


def test_decoder_gradient_of_the_reference():
    """The original's output node has the gradient (x̂ − x) / pixels / batch before the sigmoid's."""
    mode, learn, images, _, _ = prepared(reduction="mean")
    x = images.asnumpy()
    decoded = mode.decode(mode.encode(images)).asnumpy()
    mode.reconstruction_phase(images, None, learn)
    expected = ((decoded - x) / 20 * decoded * (1 - decoded)).mean(axis=0)
    bias = parameters(mode.networks["decoder"])["layers.2.bias"].grad().asnumpy()
    np.testing.assert_allclose(bias, expected, rtol=1e-3, atol=1e-7)


OF_THE_DECODER = {"epochs": 3, "decoder_epochs": 1, "decoder_noise": 2.0}


def test_in_the_last_epochs_the_decoder_learns_alone():
    mode = AAE(small_config(init_std=0.1, **OF_THE_DECODER), (4, 5), "0123456789").mode
    learn = Watched(mode)
    before = values(mode)
    for epoch, alone in ((2, False), (3, True)):
        batch = one_batch(mode, epoch=epoch)
        learn.at(epoch, batch.left, batch.share, batch.decoder_left)
        measured = mode.step(batch, learn)
        assert all(np.isfinite(value.asscalar()) for value in measured.values())
        after = values(mode)
        assert changed(before, after) == ({"decoder"} if alone else set(mode.networks))
        before = after


@pytest.mark.parametrize(("decay", "scales"), [("linear", (0.5, 1 / 6)), ("none", (1, 1 / 3))])
def test_the_decoder_goes_on_with_a_third_of_its_rate(decay, scales):
    mode = AAE(small_config(decay=decay, **OF_THE_DECODER), (4, 5), "0123456789").mode
    learn = Watched(mode)
    learn.at(1, 0.5)
    before = learn.scale
    learn.at(3, 0.0, decoder_left=0.5)
    assert (before, learn.scale) == pytest.approx(scales)


def test_the_decoder_learns_from_codes_with_noise():
    noise = nd.array(np.random.default_rng(1).standard_normal((6, 2)))
    mode, learn, images, _, _ = prepared()
    codes = mode.encode(images)
    decoded = mode.decode(codes + noise).asnumpy()
    mode.reconstruction_phase(images, None, learn, noise)
    np.testing.assert_array_equal(mode.codes.asnumpy(), codes.asnumpy())
    expected = (decoded - images.asnumpy()) * decoded * (1 - decoded)
    bias = parameters(mode.networks["decoder"])["layers.2.bias"].grad().asnumpy()
    factor = 1 if mode.config.reduction == "sum" else 1 / 20
    np.testing.assert_allclose(bias, factor * expected.mean(axis=0), rtol=1e-3, atol=1e-7)


def test_what_falls_has_fallen_before_the_decoder_learns_alone():
    config = small_config(batch_size=500, code_noise=0.1, hidden_noise=0.5, **OF_THE_DECODER)
    mode = AAE(config, (4, 5), "0123456789").mode
    images = nd.array(np.random.default_rng(0).random((1000, 20)))

    def left(epoch):
        found = list(batches.epoch_batches(mode, images, None, epoch))
        return [b.left for b in found], [b.decoder_left for b in found], found[1]

    assert [left(epoch)[:2] for epoch in (1, 2, 3)] == [
        ([1, 0.75], [None, None]),
        ([0.5, 0.25], [None, None]),
        ([0, 0], [1, 0.5]),
    ]
    batch = left(2)[2]
    assert batch.decoder_noise is None and batch.code_noise.asnumpy().any()
    batch = left(3)[2]
    assert batch.decoder_noise.asnumpy().std() == pytest.approx(2, abs=0.1)
    assert not batch.code_noise.asnumpy().any() and not batch.hidden_noise.asnumpy().any()


def test_the_epochs_before_those_of_the_decoder_are_a_whole_training(tmp_path):
    settings = {"limit": 300, "validation": 50, "seed": 3}
    whole = fit(small_config(epochs=2, **settings), tmp_path / "whole", quiet=True)
    more = fit(small_config(**OF_THE_DECODER, **settings), tmp_path / "more", quiet=True)
    for name, network in values(whole.mode).items():
        for key, array in network.items():
            same = (array == values(more.mode)[name][key]).all()
            assert same == (name != "decoder")
    rows = [read_history(tmp_path / name) for name in ("whole", "more")]
    np.testing.assert_array_equal(
        rows[0]["reconstruction_loss"], rows[1]["reconstruction_loss"][:2]
    )


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"epochs": 3, "decoder_epochs": 3}, "decoder_epochs"),
        ({"decoder_noise": 0.5}, "decoder_noise"),
        ({"decoder_epochs": 1, "decoder_noise": -1.0}, "decoder_noise"),
    ],
)
def test_what_cannot_be_of_the_decoder_alone(settings, name):
    with pytest.raises(ConfigError, match=f"^{name}="):
        Config(**settings)


def test_discriminator_gradient_is_the_sum_of_two_passes():
    mode, learn, images, prior_codes, condition = prepared()
    codes = mode.encode(images)
    discriminator = mode.networks["discriminator"]

    def entropy(codes, target):
        logits = discriminator(codes, condition).asnumpy().ravel().astype(float)
        return np.log1p(np.exp(-logits if target else logits)).mean(), (
            (logits > 0) == target
        ).mean()

    parts = [entropy(codes, 0), entropy(prior_codes, 1)]
    gradients = []
    for rows, target in ((codes, 0.0), (prior_codes, 1.0)):
        with mx.autograd.record():
            loss, _ = AdversarialLoss()(discriminator(rows, condition), nd.full((6, 1), target))
        loss.backward()
        gradients.append(parameters(discriminator)["layers.0.weight"].grad().asnumpy().copy())
    measured = mode.discriminator_phase(codes, prior_codes, condition, learn)
    np.testing.assert_allclose([m.asscalar() for m in measured], np.mean(parts, axis=0), rtol=1e-4)
    both = parameters(discriminator)["layers.0.weight"].grad().asnumpy()
    np.testing.assert_allclose(both, sum(gradients), rtol=1e-3, atol=1e-7)


def test_encoder_optimizers():
    separate = prepared()[1].optimizers
    assert separate["generator"] is not separate["encoder"]
    shared = prepared(encoder_adam="shared")[1].optimizers
    assert shared["generator"] is shared["encoder"]


# Labels.


def test_labels_of_the_formulations():
    dataset = load_dataset(small_config())
    assert batches.training_labels(small_config(), dataset) is None
    supervised = batches.training_labels(small_config(prior="uniform", labels="all"), dataset)
    np.testing.assert_array_equal(supervised, dataset.train_labels)
    config = small_config(prior="uniform", labels=50)
    some = batches.training_labels(config, dataset)
    known = some < 10
    assert known.sum() == 50 and (some[~known] == 10).all()
    # They are those of the training images, five of each class.
    np.testing.assert_array_equal(some[known], dataset.train_labels[known])
    assert (np.bincount(some[known]) == 5).all()
    np.testing.assert_array_equal(some, batches.training_labels(config, dataset))


def test_prior_samples_match_the_labels():
    config = small_config(prior="uniform", labels=50)
    labels = np.array([0] * 500 + [9] * 500 + [10] * 5000)
    mode = AAE(config, (4, 5), "0123456789").mode
    codes, pieces = mode._prior_codes(np.random.default_rng(0), labels, 6000)
    cell = np.floor(codes + 2).astype(int)
    piece = cell[:, 1] * 4 + cell[:, 0]
    np.testing.assert_array_equal(piece, pieces)
    assert (piece[:500] == 0).all() and (piece[500:1000] == 9).all()
    # The rest is drawn from the whole prior: 500 of each piece, give or take.
    assert np.abs(np.bincount(piece[1000:], minlength=10) - 500).max() < 6 * np.sqrt(500)


def test_unknown_labels_are_the_last_entry(monkeypatch):
    """What the discriminator is given: one-hots of n + 1 entries, as many unknown as there are."""
    config = small_config(prior="uniform", labels=50, discriminator_steps=1)
    dataset = load_dataset(config)
    mode = AAE(config, dataset.image_shape, dataset.classes).mode
    labels = batches.training_labels(config, dataset)
    given = []
    phase = mode.discriminator_phase

    def watched(codes, prior_codes, condition, learn):
        given.append(condition.asnumpy())
        return phase(codes, prior_codes, condition, learn)

    monkeypatch.setattr(mode, "discriminator_phase", watched)
    images = nd.array(to_unit(dataset.train_images))
    training.train_epoch(mode, Learner(mode), images, labels, 1, lambda step, means: None)
    given = np.concatenate(given)
    # A quarter (12 of 50) of each of the 8 batches is drawn from the 50 labelled images.
    assert given.shape == (300 + 8 * 12, 11)
    assert given[:, 10].sum() == 250
    for start in range(0, 350, 50):
        assert not given[start + 38 : start + 50, 10].any()


def test_with_labelled_keeps_the_whole_pass():
    order, known = np.arange(100), np.array([7, 70])
    mixed = batches.with_labelled(order, known, 20, 5, np.random.default_rng(0))
    assert len(mixed) == 100 + 7 * 5
    parts = [mixed[start : start + 20] for start in range(0, 135, 20)]
    np.testing.assert_array_equal(np.concatenate([part[:-5] for part in parts]), order)
    assert all(set(part[-5:]) <= {7, 70} for part in parts)
    config = small_config(prior="uniform", labels=50, batch_size=20)
    mode = AAE(config, (4, 5), "01").mode
    assert batches.steps_per_epoch(mode, 100) == 7 == len(parts)
    assert batches.images_per_epoch(mode, 100) == 135
    other = AAE(small_config(batch_size=20), (4, 5), "01").mode
    assert batches.steps_per_epoch(other, 101) == 6


def test_warped():
    """Whole pixels, a mirror image and a quarter turn, against NumPy."""
    images = np.arange(1.0, 51).reshape(2, 5, 5)
    flat = nd.array(images.reshape(2, 25))
    step = 2 / 4  # of one pixel, as five lie at -1 to 1
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    expected = {
        (1, 0, 0, 0, 1, 0): images,
        (1, 0, step, 0, 1, 0): framed[:, 1:-1, 2:],
        (1, 0, 0, 0, 1, -step): framed[:, :-2, 1:-1],
        (-1, 0, 0, 0, 1, 0): images[:, :, ::-1],
        (0, 1, 0, -1, 0, 0): np.rot90(images, 1, axes=(2, 1)),
    }
    for numbers, result in expected.items():
        maps = nd.array([numbers, (1, 0, 0, 0, 1, 0)])
        moved = noise.warped(flat, (5, 5), maps).asnumpy().reshape(2, 5, 5)
        np.testing.assert_allclose(moved[0], result[0], atol=1e-4)
        np.testing.assert_allclose(moved[1], images[1], atol=1e-4)


def test_each_image_is_warped_by_a_little():
    config = small_config(image_warp=0.1, labels="all", prior="uniform", batch_size=5)
    mode = AAE(config, (21, 21), "01").mode
    dots = np.zeros((300, 21, 21), np.float32)
    dots[:, 5, 15] = 1
    images = nd.array(dots.reshape(300, 441))
    labels = np.zeros(300, int)
    drawn = [
        noise.warped(batch.images, (21, 21), batch.maps).asnumpy()
        for batch in batches.epoch_batches(mode, images, labels, 1)
    ]
    places = np.concatenate(drawn).reshape(300, 21, 21)
    assert len(np.unique(places, axis=0)) == 300
    rows, columns = (np.unique(axis) for axis in np.nonzero(places)[1:])
    # 10 pixels are 1: each number moves the dot by (0.5 + 0.5 + 1) × 0.1 of that, and the
    # interpolation and the inverse of the map add a little.
    assert 2 <= rows.min() <= 4 and 6 <= rows.max() <= 8
    assert 12 <= columns.min() <= 14 and 16 <= columns.max() <= 18
    again = next(batches.epoch_batches(mode, images, labels, 1))
    again = noise.warped(again.images, (21, 21), again.maps)
    np.testing.assert_array_equal(again.asnumpy(), drawn[0])


def test_images_are_warped_once_more_for_pseudo_labels(monkeypatch):
    images, labels = nd.random.uniform(shape=(300, 25)), np.arange(300) % 2

    def seen(**settings):
        """What the reconstruction phase and the generator phase get."""
        config = small_config(image_warp=0.1, labels=10, prior="uniform", **settings)
        mode = AAE(config, (5, 5), "01").mode
        given = []
        for name in ("reconstruction_phase", "generator_phase"):
            phase = getattr(mode, name)

            def watched(images, *others, phase=phase):
                given.append(images)
                return phase(images, *others)

            monkeypatch.setattr(mode, name, watched)
        mode.step(next(batches.epoch_batches(mode, images, labels, 1)), Learner(mode))
        return given

    once, twice = (given.asnumpy() for given in seen())
    assert (once != twice).any(axis=1).all()
    # Noise changes much when it is moved a little, but is not of another image.
    assert 0.3 < np.corrcoef(once.ravel(), twice.ravel())[0, 1] < 0.95
    np.testing.assert_array_equal(seen()[1].asnumpy(), twice)
    first, second = seen(pseudo_label_weight=0)
    assert first is second


def test_each_discriminator_step_has_prior_samples_of_its_own():
    config = small_config(discriminator_steps=3, prior="uniform", labels="all", code_noise=0.1)
    mode = AAE(config, (4, 5), "0123456789").mode
    learn = Learner(mode)
    images, labels = nd.random.uniform(shape=(50, 20)), np.arange(50) % 10
    batch = next(batches.epoch_batches(mode, images, labels, 1))
    assert batch.prior_codes.shape == batch.code_noise.shape == (50, 3, 2)
    prior = batch.prior_codes.asnumpy()
    assert (prior[:, 0] != prior[:, 1]).all() and (prior[:, 1] != prior[:, 2]).all()
    mode.step(batch, learn)
    counts = {name: adam.steps for name, adam in learn.optimizers.items()}
    once = dict.fromkeys(["encoder", "decoder", "classifier", "generator"], 1)
    assert counts == {**once, "discriminator": 3}


@pytest.mark.parametrize(("decay", "power"), [("linear", 1), ("quadratic", 2)])
def test_noise_falls_to_zero(decay, power):
    some = {"code_noise": 0.5, "hidden_noise": 0.7, "image_warp": 0, "code_noise_decay": decay}
    config = small_config(prior="uniform", labels="all", epochs=2, batch_size=400, **some)
    mode = AAE(config, (4, 5), "0123456789").mode
    images, labels = nd.zeros((4000, 20)), np.arange(4000) % 10
    for epoch, first, last in ((1, 1, 0.5), (2, 0.5, 0)):
        steps = list(batches.epoch_batches(mode, images, labels, epoch))
        for batch, left in ((steps[0], first), (steps[-1], last)):
            for values in (batch.generator_noise, batch.code_noise):
                std = values.asnumpy().std()
                assert std == pytest.approx(0.5 * left**power, abs=0.04)
            hidden = batch.hidden_noise.asnumpy(), batch.generator_hidden_noise.asnumpy()
            assert (hidden[0] != hidden[1]).mean() > 0.99
            for values in hidden:
                assert values.shape == (400, 32)
                assert values.std() == pytest.approx(0.7 * left, abs=0.06)
                assert abs(values.mean()) < 0.03


def test_weights_that_are_set_later_are_those_of_a_step():
    """A step keeps its graphs and arrays; weights that are set then are theirs."""
    config = small_config(labels="all", prior="uniform", hidden_noise=0, code_noise=0)
    images, labels = nd.random.uniform(shape=(300, 25)), np.arange(300) % 2
    used, new = (AAE(config.replace(seed=seed), (5, 5), "01") for seed in (1, 2))

    def step(model):
        batch = next(batches.epoch_batches(model.mode, images, labels, 1))
        batch.update(next(batches.epoch_batches(new.mode, images, labels, 1)))
        measured = model.mode.step(batch, Learner(model.mode))
        return nd.concat(*measured.values(), dim=0).asnumpy()

    step(used)
    used.set_weights(new.weights())
    before = new.weights()
    np.testing.assert_array_equal(step(used), step(new))
    after, expected = used.weights(), new.weights()
    for name, weights in expected.items():
        np.testing.assert_array_equal(after[name], weights)
        assert name.endswith("bias") or (weights != before[name]).any(), name


# Whole trainings.


def test_every_image_is_seen_once_each_epoch(monkeypatch):
    """Also where the last batch is smaller than the others."""
    config = small_config(limit=130, epochs=1)
    mode = AAE(config, (1, 2), "01").mode
    seen = []
    step = mode.step

    def watched(batch, learn):
        seen.append(batch.images.asnumpy())
        return step(batch, learn)

    monkeypatch.setattr(mode, "step", watched)
    images = np.stack([np.arange(130) / 130, np.zeros(130)], axis=1)
    for epoch in (1, 2):
        training.train_epoch(
            mode, Learner(mode), nd.array(images), None, epoch, lambda step, means: None
        )
    assert [len(batch) for batch in seen] == [50, 50, 30] * 2
    first, second = np.concatenate(seen[:3])[:, 0], np.concatenate(seen[3:])[:, 0]
    np.testing.assert_allclose(np.sort(first), images[:, 0], atol=1e-6)
    assert (first != second).any(), "each epoch has an order of its own"


@pytest.mark.parametrize(
    ("settings", "stored"),
    [
        (
            {"recipe": "reference"},
            {
                "reconstruction_loss": [0.071568, 0.0409311],
                "discriminator_entropy": [0.688374, 1.19065],
                "generator_entropy": [0.708456, 0.646539],
                "held_out_l2": [7.27312, 9.21973],
            },
        ),
        (
            {"recipe": "reference", "prior": "swiss_roll", "labels": "all"},
            {
                "reconstruction_loss": [0.0714888, 0.046043],
                "discriminator_entropy": [0.666643, 2.20235],
                "generator_entropy": [0.754596, 1.54566],
                "held_out_l2": [7.60905, 7.18501],
            },
        ),
    ],
)
def test_losses_are_those_of_the_plain_loop(tmp_path, settings, stored):
    """Values of the first, slower version of the loop: speed must not change what is computed.

    Two epochs of ten steps. On one machine they agree to the last of the six digits, with one
    thread or two; other processors add up in another order, which training amplifies.
    """
    fit(Config(limit=1000, epochs=2, **settings), tmp_path / "run", quiet=True)
    history = read_history(tmp_path / "run")
    for name, values in stored.items():
        np.testing.assert_allclose(history[name], values, rtol=2e-3, err_msg=name)


@pytest.mark.parametrize("labels", ["none", "all", 100])
def test_same_seed_same_run(tmp_path, labels):
    config = small_config(prior="gaussian_mixture", labels=labels, seed=4)
    models = [fit(config, tmp_path / name, quiet=True) for name in "ab"]
    images = load_dataset(config).test_images
    np.testing.assert_array_equal(models[0].encode(images), models[1].encode(images))
    rows = [read_history(tmp_path / name) for name in "ab"]
    for history in rows:
        del history["seconds"]
    assert rows[0] == rows[1]
    other = fit(small_config(prior="gaussian_mixture", labels=labels, seed=5), tmp_path / "c", True)
    assert (other.encode(images) != models[0].encode(images)).any()


@pytest.mark.parametrize(
    "settings",
    [
        {"reconstruction": "cross_entropy", "activation": "tanh"},
        {"code_dim": 6, "prior": "gaussian", "prior_std": 2.0},
        {"hidden_noise": 0.0, "code_noise": 0.0, "encoder_adam": "shared", "decay": "none"},
    ],
)
def test_options_train(tmp_path, settings):
    model = fit(small_config(**settings), tmp_path / "run", quiet=True)
    history = read_history(tmp_path / "run")
    assert history["reconstruction_l2"][1] < history["reconstruction_l2"][0]
    assert np.isfinite(model.encode(load_dataset(model.config).test_images)).all()


@pytest.mark.parametrize(
    ("network", "array", "value", "message"),
    [
        ("decoder", "layers.2.bias", np.nan, "the reconstruction_loss is no longer finite"),
        # ReLU makes a NaN 0, so that this one never reaches a loss.
        ("encoder", "layers.0.bias", np.nan, "the encoder's layers.0.bias is no longer finite"),
        # Finite, but beyond reason; of these the squared error and the codes say nothing.
        (
            "decoder",
            "layers.2.bias",
            1e6,
            r"the decoder's layers.2.bias is 1.0e\+06, beyond",
        ),
        ("encoder", "layers.0.bias", -1e6, r"the encoder's layers.0.bias is 1.0e\+06, beyond"),
    ],
)
def test_diverging_stops_and_keeps_the_checkpoint(
    tmp_path, monkeypatch, network, array, value, message
):
    epochs = []
    train_epoch = training.train_epoch

    def poisoned(mode, *arguments):
        epochs.append(1)
        if len(epochs) == 2:
            bias = parameters(mode.networks[network])[array]
            bias.set_data(nd.full(bias.shape, value))
        return train_epoch(mode, *arguments)

    monkeypatch.setattr(training, "train_epoch", poisoned)
    message = f"epoch 2, step 6: {message}.*the training has diverged. The last checkpoint is kept"
    with pytest.raises(AAEError, match=message):
        fit(small_config(epochs=3), tmp_path / "run", quiet=True)
    images = load_dataset(small_config()).test_images
    assert np.isfinite(load(tmp_path / "run").encode(images)).all()
    assert read_history(tmp_path / "run")["epoch"] == [1]
    assert [int(file.stem.split("-")[1]) for file in checkpoints(tmp_path / "run")] == [1]


def reach(code=1, **metrics):
    """The arguments of ``check_divergence`` for a mode as it is drawn, with some metrics."""
    mode = AAE(small_config(reduction="sum"), (4, 5), "0123456789").mode
    mode.codes = nd.ones((3, 2)) * code
    return mode, {**dict.fromkeys(mode.metrics, 0.5), **metrics}, "now"


@pytest.mark.parametrize(
    ("metrics", "code", "message"),
    [
        ({"generator_entropy": 10_001}, 1, r"the generator_entropy is 1.0e\+04, beyond reason"),
        ({"discriminator_entropy": 1e5}, 1, r"the discriminator_entropy is 1.0e\+05, beyond"),
        # The sum over 20 pixels.
        (
            {"reconstruction_loss": 220_000},
            1,
            r"now: the reconstruction_loss per pixel is 1.1e",
        ),
        ({}, 1e6, r"the largest code is 1.0e\+06, beyond reason"),
        ({}, np.nan, "the largest code is no longer finite"),
    ],
)
def test_beyond_reason(metrics, code, message):
    with pytest.raises(AAEError, match=message):
        training.check_divergence(*reach(code, **metrics))
    # What is large, but may be.
    training.check_divergence(*reach(reconstruction_loss=9000, generator_entropy=1500))


@pytest.mark.parametrize("arch", ["mlp", "conv"])
@pytest.mark.parametrize(
    ("phase", "rate"),
    [
        *(("generator", rate) for rate in (1e3, 1e9)),
        *((phase, 1e9) for phase in ("discriminator", "reconstruction", "decoder")),
    ],
)
def test_absurd_rates_end_in_one_line(refused, tmp_path, arch, phase, rate):
    if arch == "mlp":
        options = small_options(limit=600)
    else:
        options = ["--arch", "conv", "--filters", 2, "--limit", 200, "--batch-size", 10]
    message = refused(
        train.main, *options, f"--{phase}-rate", rate, "--out", tmp_path, "--quiet", code=1
    )
    assert "the training has diverged" in message and "epoch 1, step " in message
    assert checkpoints(tmp_path) == [] and not (tmp_path / "history.csv").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1, "limit": 30},
        {"batch_size": 1, "limit": 30, "prior": "uniform", "labels": "all"},
        {"code_dim": 64, "prior": "swiss_roll"},
        {"reconstruction": "cross_entropy", "reduction": "sum"},
        {"prior_std": 1e-4, "init_std": 0.3},
        {"arch": "conv", "hidden": None, "filters": 2, "batch_size": 1, "limit": 30},
    ],
)
def test_what_is_small_or_unusual_does_not_diverge(tmp_path, settings):
    assert fit(small_config(**settings), tmp_path / "run", quiet=True).epoch == 2
