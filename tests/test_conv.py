"""The convolutional networks, and what larger images in colour need besides."""

import itertools
import json
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import SMALL_CONV
from test_resume import assert_same_run, stop_after
from test_training import changed, values

import aae_mx
from aae_mx import encode, model, train
from aae_mx.backend import mx
from aae_mx.commands import evaluate
from aae_mx.config import Config
from aae_mx.data import load_dataset, to_unit
from aae_mx.errors import ConfigError, InputError, Interrupted
from aae_mx.model import AAE, load
from aae_mx.networks import noise
from aae_mx.networks.build import n_weights, parameters, trained_parameters
from aae_mx.networks.convolutions import conv_sizes
from aae_mx.report import figures as run_figures
from aae_mx.training import batches
from aae_mx.training.optimizers import Adam, Learner

nd = mx.nd


def conv_config(folder="/nowhere", **settings):
    return Config(images=str(folder), **{**SMALL_CONV, **settings})


def conv_options(folder, **settings):
    options = ["--images", folder]
    for name, value in {**SMALL_CONV, **settings}.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        options += ["--" + name.replace("_", "-"), text]
    return options


# The networks.


@pytest.mark.parametrize("shape", [(28, 28), (32, 32, 3), (64, 64), (128, 128, 3), (20, 20, 3)])
@pytest.mark.parametrize("labels", ["none", "all", 20])
def test_shapes_and_sizes(shape, labels):
    config = Config(arch="conv", prior="uniform", labels=labels, code_dim=6, filters=2)
    networks = AAE(config, shape, "0123456789").networks
    images = nd.random.uniform(shape=(3, int(np.prod(shape))))
    codes = networks["encoder"](images)
    assert codes.shape == (3, 6)
    assert networks["decoder"](codes).shape == images.shape
    arrays = [p for network in networks.values() for p in parameters(network).values()]
    assert n_weights(networks) == sum(p.data().size for p in arrays)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3)])
def test_sixteen_filters_can_be_trained(shape):
    """MXNet cannot go back through the layer that would give a grey image directly."""
    networks = AAE(Config(arch="conv", filters=16), shape, "0123456789").networks
    images = nd.random.uniform(shape=(4, int(np.prod(shape))))
    with mx.autograd.record():
        loss = nd.mean((networks["decoder"](networks["encoder"](images)) - images) ** 2)
    loss.backward()
    for network in ("encoder", "decoder"):
        for name, parameter in trained_parameters(networks[network]).items():
            assert np.abs(parameter.grad().asnumpy()).max() > 0 or name.endswith("bias"), name


def test_layers():
    assert conv_sizes((64, 64, 3), 32) == ([3, 32, 64, 128, 256], 4)
    assert conv_sizes((128, 128), 32) == ([1, 32, 64, 128, 256, 256], 4)
    assert conv_sizes((28, 28), 32) == ([1, 32, 64], 7)


@pytest.mark.parametrize("shape", [(5, 5), (28, 32), (50, 50), (6, 5, 3), (27, 27)])
def test_sizes_that_cannot_be_halved(shape, idx_directory):
    with pytest.raises(ConfigError, match="arch='conv': the images are .* use --arch mlp"):
        conv_sizes(shape, 32)


def test_too_small_images_are_refused_in_one_line(refused, idx_directory, tmp_path):
    options = ["--data-dir", idx_directory, "--arch", "conv", "--out", tmp_path / "run"]
    assert "--arch conv: the images are 6 × 5 pixels" in refused(train.main, *options, code=2)
    assert not (tmp_path / "run").exists()


def test_encoder_is_a_convolution_of_rows_of_pixels():
    """One layer against NumPy: the order of pixels and colours, padding and stride."""
    config = conv_config(init_std=0.5, activation="tanh")
    encoder = AAE(config, (8, 8, 3), ()).networks["encoder"]
    images = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    weight, dense, bias = (
        parameters(encoder)[f"layers.{name}"].data().asnumpy()
        for name in ("0.weight", "4.weight", "4.bias")
    )
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    maps = np.empty((2, 4, 4, 4))
    for row, column in itertools.product(range(4), repeat=2):
        window = framed[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
        maps[:, :, row, column] = np.einsum("nyxc,ocyx->no", window, weight)
    # Batch normalisation has seen nothing yet: mean 0, variance 1.
    expected = np.tanh(maps / np.sqrt(1 + 1e-5)).reshape(2, -1) @ dense.T + bias
    codes = encoder(nd.array(images.reshape(2, -1))).asnumpy()
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-5)


def test_decoder_is_the_transposed_convolution():
    decoder = AAE(conv_config(init_std=0.5), (8, 8, 3), ()).networks["decoder"]
    p = {name: parameter.data().asnumpy() for name, parameter in parameters(decoder).items()}
    parameters(decoder)["layers.2.bias"].set_data(nd.array([1.0, 2, 3]))
    codes = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    first = (codes @ p["first.weight"].T + p["first.bias"]).reshape(2, 4, 4, 4)
    first = np.maximum(first / np.sqrt(1 + 1e-5), 0)
    framed = np.zeros((2, 10, 10, 3))
    for row, column in itertools.product(range(4), repeat=2):
        spread = np.einsum("nc,coyx->nyxo", first[:, :, row, column], p["layers.2.weight"])
        framed[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += spread
    expected = framed[:, 1:9, 1:9] + [1, 2, 3]
    logits = decoder(nd.array(codes)).asnumpy().reshape(2, 8, 8, 3)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


# Training them.


def prepared(**settings):
    config = conv_config(prior="uniform", labels="all", init_std=0.1, **settings)
    model = AAE(config, (28, 28, 3), "ab")
    images = nd.array(np.random.default_rng(0).random((6, 28 * 28 * 3)))
    return model, Learner(model.mode), images


def test_running_means_are_not_optimized():
    model, learn, _ = prepared()
    for name in ("encoder", "decoder"):
        names = set(parameters(model.networks[name])) - set(learn.optimizers[name].means)
        assert names and all("running" in name for name in names)


def test_in_use_batch_normalisation_has_its_running_means():
    """An image's code does not depend on those beside it, and using a model changes nothing."""
    model, learn, images = prepared()
    model.mode.reconstruction_phase(images, None, learn)
    before = values(model)
    pixels = images.asnumpy()
    together, alone = model.encode(pixels), model.encode(pixels[:1])
    np.testing.assert_allclose(together[:1], alone, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.decode(together)[:1], model.decode(alone), atol=1e-5)
    model.sample(3, seed=0)
    assert changed(before, values(model)) == set()
    # In training the batch's own mean counts.
    with mx.autograd.record():
        codes = model.encoder(images).asnumpy()
    assert np.abs(codes - together).max() > 0.01


@pytest.mark.parametrize("after_inference", [False, True])
def test_adam_on_convolutions(after_inference):
    """Against the same arithmetic in NumPy, whatever layout inference has left weights in."""
    model, _, images = prepared()
    if after_inference:
        model.reconstruct(images.asnumpy())
        nd.waitall()
    before = values(model)["encoder"]
    adam = Adam(trained_parameters(model.encoder), 0.1, 0.999, 1e-8, 5.0)
    with mx.autograd.record():
        loss, _ = model.mode.reconstruction_loss(model.decoder(model.encoder(images)), images)
    loss.backward()
    adam.step(0.01)
    for name in adam.means:
        # The first step's means are those of the gradient itself.
        gradient = parameters(model.encoder)[name].grad().asnumpy().astype(float)
        expected = before[name] - 0.01 * gradient / (np.abs(gradient) + 1e-8 / 0.001**0.5)
        after = values(model)["encoder"][name]
        np.testing.assert_allclose(after, expected, atol=1e-6, err_msg=name)


def test_batches_of_a_folder_are_those_of_its_pixels():
    model, *_ = prepared()
    images = np.random.default_rng(0).integers(256, size=(30, 28, 28, 3)).astype(np.uint8)
    labels = np.arange(30) % 2
    in_memory = batches.epoch_batches(model.mode, nd.array(to_unit(images)), labels, 1)
    streamed = batches.epoch_batches(model.mode, images, labels, 1)
    for a, b in zip(in_memory, streamed):
        np.testing.assert_array_equal(a.images.asnumpy(), b.images.asnumpy())
        np.testing.assert_array_equal(a.prior_codes.asnumpy(), b.prior_codes.asnumpy())


def test_images_in_colour_are_warped():
    images = np.arange(1.0, 91).reshape(2, 3, 5, 3)
    flat = nd.array(images.reshape(2, -1))
    maps = nd.array([(1, 0, 2 / 4, 0, 1, 0), (1, 0, 0, 0, -1, 0)])
    warped = noise.warped(flat, (3, 5, 3), maps).asnumpy().reshape(2, 3, 5, 3)
    left = np.pad(images[0, :, 1:], ((0, 0), (0, 1), (0, 0)))
    np.testing.assert_allclose(warped, [left, images[1, ::-1]], atol=1e-4)


def test_errors_are_measured_in_parts(monkeypatch):
    whole, *_ = prepared()
    images = np.random.default_rng(0).integers(256, size=(30, 28, 28, 3)).astype(np.uint8)
    errors = whole.reconstruct(images) - images / np.float32(255)
    expected = np.sqrt((errors**2).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(whole.error_norms(images), expected, rtol=1e-4)
    monkeypatch.setattr(model, "INFERENCE_PIXELS", 7 * 28 * 28 * 3)
    np.testing.assert_allclose(whole.error_norms(images), expected, rtol=1e-4)
    np.testing.assert_allclose(whole.error_norms(to_unit(images)), expected, rtol=1e-4)


# Whole runs.


def test_help_tells_their_defaults(call):
    text = " ".join(call(train.main, "--help")[1].split())
    every = "perceptrons for the mixture with every label"
    labels = f"perceptrons with labels, {every}"
    roll, conv = "perceptrons for the swiss roll without labels", "convolutions without labels"
    assert f"square root of what is left of the training. [default: 0.15 ({labels})]" in text
    assert (
        f"[default: 0.002; 0.0004 ({labels}, convolutions with labels); 0.00015 ({roll}); "
        f"0.001 ({conv})]" in text
    )
    assert f"[default: 20; 19 ({every}); 40 ({conv}, convolutions with labels)]" in text


def titles_of_figures(run, monkeypatch):
    titles = {}

    @contextmanager
    def saved(path, **size):
        with original(path, **size) as axes:
            yield axes
        titles[path.stem] = axes.get_title() if hasattr(axes, "get_title") else None

    original = run_figures.saved
    monkeypatch.setattr(run_figures, "saved", saved)
    run_figures.plot_run(load(run))
    return titles


def test_folder_without_classes(call, refused, image_folder, tmp_path, monkeypatch):
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in image_folder.glob("*/*.png"):
        (flat / file.name).symlink_to(file)
    options = conv_options(flat, channels="grey", prior="gaussian_mixture")
    quietly = ["--out", tmp_path / "run", "--quiet", "--no-figures"]
    assert call(train.main, *options, *quietly) == (0, "")
    status, output = call(evaluate.main, tmp_path / "run", "--json", tmp_path / "numbers.json")
    assert status == 0
    measured = json.loads((tmp_path / "numbers.json").read_text())["runs"][0]["metrics"]
    assert {name for name, value in measured.items() if value is None} == {
        "label_agreement",
        "neighbour_accuracy",
        "frechet_distance",
        "class_entropy",
    }
    assert call(encode.main, tmp_path / "run", "--out", tmp_path / "codes.npz")[0] == 0
    with np.load(tmp_path / "codes.npz") as arrays:
        assert set(arrays) == {"qz", "pz", "py", "x", "xr", "files"}
    titles = titles_of_figures(tmp_path / "run", monkeypatch)
    for name, title in {"pz": "p(z)", "qz": "q(z)", "output": "decoded plane"}.items():
        assert titles[name] == f"{title} along the first two principal components"
    refusal = refused(train.main, *options, "--labels", "--out", tmp_path / "other", code=2)
    assert "--labels all: the images of" in refusal and "one sub-folder per class" in refusal
    assert not (tmp_path / "other").exists()


def test_stopped_and_resumed_is_unbroken(image_folder, tmp_path, monkeypatch):
    """Within the first epoch and at the end of the second; five steps are an epoch."""
    config = conv_config(image_folder, epochs=4, prior="uniform", labels="all", image_warp=0.1)
    aae_mx.fit(config, tmp_path / "whole", quiet=True)
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Interrupted, match="after epoch 0, step 2"):
            aae_mx.fit(config, stopped, quiet=True)
    with monkeypatch.context() as patch:
        stop_after(patch, 8, signal.SIGTERM)
        with pytest.raises(Interrupted, match="after epoch 2, step 0"):
            aae_mx.resume(stopped, quiet=True)
    aae_mx.resume(stopped, quiet=True)
    assert_same_run(tmp_path / "whole", stopped)
    images = load_dataset(config).test_images
    np.testing.assert_array_equal(
        load(tmp_path / "whole").encode(images), load(stopped).encode(images)
    )


def test_perceptrons_on_a_folder_and_convolutions_on_mnist(image_folder, tmp_path):
    settings = {"epochs": 1, "batch_size": 30, "discriminator_hidden": (16,)}
    config = Config(images=str(image_folder), image_size=28, arch="mlp", hidden=(9,), **settings)
    model = aae_mx.fit(config, tmp_path / "mlp", quiet=True)
    assert model.reconstruct(load_dataset(config).test_images).shape == (4, 28, 28, 3)
    config = Config(arch="conv", filters=2, limit=60, **settings)
    model = aae_mx.fit(config, tmp_path / "conv", quiet=True)
    assert load(tmp_path / "conv").reconstruct(np.zeros((2, 28, 28))).shape == (2, 28, 28)


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ('"filters": 4', '"filters": 4096', r"the networks of config.json need [0-9,]{13,}"),
        ("[28, 28, 3]", "[28, 28, 4]", "its image_shape, classes or data are not"),
        ("[28, 28, 3]", "[28, 28, 3, 3]", "its image_shape, classes or data are not"),
        ("[28, 28, 3]", "[28, 30, 3]", "the images are 28 × 30 pixels"),
        ('["discs", "squares"]', "[]", "trained with labels, but names no classes"),
        ('["discs", "squares"]', "7", "its image_shape, classes or data are not"),
        ('"arch": "conv"', '"arch": "mlp"', "filters=4: it is for --arch conv, but here it is mlp"),
    ],
)
def test_damaged_config(image_folder, tmp_path, was, becomes, message):
    config = conv_config(image_folder, epochs=1, prior="uniform", labels="all")
    aae_mx.fit(config, tmp_path / "run", quiet=True)
    file = tmp_path / "run" / "config.json"
    text = json.dumps(json.loads(file.read_text()))
    assert was in text
    file.write_text(text.replace(was, becomes))
    with pytest.raises(InputError, match=message):
        load(tmp_path / "run")
