import dataclasses
import json

import numpy as np
import pytest
from conftest import small_config

from aae_mx import train
from aae_mx.config import Config
from aae_mx.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": "cauchy"}, "prior='cauchy': expected one of gaussian, gaussian_mixture"),
        ({"prior": 3}, "expected a text"),
        ({"code_dim": 3, "prior": "swiss_roll"}, "code_dim=3: expected an even number"),
        ({"code_dim": 0}, "expected at least 2"),
        ({"code_dim": 2.0}, "expected a whole number"),
        ({"code_dim": True}, "expected a whole number"),
        ({"labels": "all"}, "the single Gaussian has no pieces"),
        ({"labels": 100}, "the single Gaussian has no pieces"),
        ({"prior": "uniform", "labels": 0}, "expected 'all', 'none' or a number"),
        ({"prior": "uniform", "labels": "some"}, "expected 'all', 'none' or a number"),
        ({"epochs": 0}, "epochs=0: expected at least 1"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"generator_rate": 0}, "expected more than 0"),
        ({"generator_rate": float("nan")}, "expected a finite number"),
        ({"discriminator_rate": -1}, "expected more than 0"),
        ({"beta1": 1}, "expected less than 1"),
        ({"hidden": ()}, "expected numbers with commas"),
        ({"hidden": (10, 0)}, "expected at least 1"),
        ({"hidden": 10}, "expected numbers with commas"),
        ({"reconstruction": "l1"}, "expected one of squared_error, cross_entropy"),
        ({"extent": 3.0}, "extent=3.0: it shapes the uniform prior, but the prior here is gau"),
        ({"prior": "uniform", "roll_turns": 3.0}, "it shapes the swiss_roll prior"),
        ({"ctx": "tpu"}, "expected cpu, gpu"),
        ({"seed": -1}, "expected at least 0"),
        ({"limit": 0}, "expected at least 1"),
        ({"data_dir": "x", "transpose": 1}, "transpose=1: expected True or False"),
        ({"data_dir": "x", "transpose": None}, "transpose=None: expected True or False"),
        ({"data_dir": "x", "dataset": "y"}, "cannot be both a directory and the dataset 'y'"),
    ],
)
def test_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)


def test_survives_json():
    config = small_config(prior="uniform", labels=100, extent=3, discriminator_rate=1e-3)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_from_dict_refuses_unknown_names():
    with pytest.raises(ConfigError, match="learning: there is no such|learning='x'"):
        Config.from_dict({"learning": "x"})


def test_numbers_of_numpy_are_accepted():
    assert Config(seed=np.int64(3), clip=np.float32(2)) == Config(seed=3, clip=2.0)


def test_hyphens_are_another_spelling(refused):
    """Also where a setting decides which recipe others take."""
    assert Config(prior="swiss-roll") == Config(prior="swiss_roll")
    assert Config(reconstruction="cross-entropy").reconstruction == "cross_entropy"
    # So far, the command line takes it as well.
    options = ["--prior", "swiss-roll", "--code-dim", "3"]
    assert "as swiss_roll is drawn" in refused(train.main, *options, code=2)
    with pytest.raises(ConfigError, match="image_size='28': expected a whole number"):
        Config(images="x", image_size="28")


def test_data_dir_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Config(data_dir="mine").data_dir == str(tmp_path / "mine")


def test_names():
    assert Config().name == "gaussian_unsupervised"
    assert Config(prior="uniform", labels="all").name == "uniform_supervised"
    assert Config(prior="uniform", labels=100).name == "uniform_semi_supervised_100"
    assert Config(dataset="a/b c").name == "gaussian_unsupervised_a-b-c"
    assert Config(data_dir="/somewhere/mine/").name == "gaussian_unsupervised_mine"


def test_reference_is_the_original_code():
    """The values of the original code, as its post and scripts have them."""
    unsupervised = Config(recipe="reference")
    supervised = Config(recipe="reference", prior="uniform", labels="all")
    for config, discriminator in ((unsupervised, 0.0004), (supervised, 0.002)):
        assert config.reconstruction_rate == config.generator_rate == 0.002
        assert (config.decoder_rate, config.discriminator_steps) == (0.002, 1)
        assert config.discriminator_rate == discriminator
        assert (config.beta1, config.beta2, config.clip) == (0.1, 0.999, 5.0)
        assert (config.batch_size, config.epochs, config.init_std) == (100, 20, 0.01)
        assert (config.hidden, config.discriminator_hidden) == ((1000, 1000), (500, 500))
        assert (config.code_dim, config.activation) == (2, "relu")
        assert (config.reconstruction, config.reduction) == ("squared_error", "mean")
        assert (config.encoder_adam, config.decay) == ("shared", "none")
        assert (config.image_warp, config.hidden_noise, config.code_noise) == (0, 0, 0)
        assert config.classifier_weight == 0


def test_roll_without_labels_has_the_deeper_networks():
    roll, labelled = Config(prior="swiss_roll"), Config(prior="swiss_roll", labels="all")
    assert roll.hidden == labelled.hidden != Config().hidden
    assert roll.init_std is labelled.init_std is None
    assert (roll.image_warp, roll.hidden_noise, roll.classifier_weight) == (0, 0, 0)
    assert (roll.reconstruction_rate, roll.code_noise, roll.discriminator_steps) == (1.5e-4, 0.4, 2)
    # As it comes back from a run's config.json.
    assert Config.from_dict(roll.to_dict()) == roll
    reference = Config(prior="swiss_roll", recipe="reference")
    assert reference == dataclasses.replace(Config(recipe="reference"), prior="swiss_roll")
    convolutional = Config(prior="swiss_roll", arch="conv")
    assert convolutional == dataclasses.replace(Config(arch="conv"), prior="swiss_roll")


def test_settings_win_over_the_recipe():
    config = Config(recipe="reference", epochs=3, decay="linear")
    assert (config.epochs, config.decay, config.batch_size) == (3, "linear", 100)
