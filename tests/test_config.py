import copy
import itertools
import json
import pickle
from pathlib import Path

import numpy as np
import pins
import pytest
from conftest import small_config

from aae_mx import modes, recipes
from aae_mx.commands import train
from aae_mx.config import Config, mode_settings
from aae_mx.errors import AAEError, ConfigError
from aae_mx.model import read_config
from aae_mx.priors import PRIORS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": "cauchy"}, "prior='cauchy': expected one of gaussian, gaussian_mixture"),
        ({"prior": 3}, "expected a text"),
        ({"code_dim": 3, "prior": "swiss_roll"}, "code_dim=3: expected an even number"),
        ({"code_dim": 0}, "expected at least 2"),
        ({"code_dim": 2.0}, "expected a whole number"),
        ({"code_dim": True}, "expected a whole number"),
        ({"labels": "all"}, "the prior gaussian has no pieces"),
        ({"labels": 100}, "the prior gaussian has no pieces"),
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
        ({"data_dir": "x", "dataset": "y"}, "cannot be given beside --dataset"),
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
    assert Config(dataset="a b(c)").name == "gaussian_unsupervised_a-b-c-"
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
    assert reference == Config(recipe="reference").replace(prior="swiss_roll")
    convolutional = Config(prior="swiss_roll", arch="conv")
    assert convolutional == Config(arch="conv").replace(prior="swiss_roll")


def test_settings_win_over_the_recipe():
    config = Config(recipe="reference", epochs=3, decay="linear")
    assert (config.epochs, config.decay, config.batch_size) == (3, "linear", 100)


def test_what_is_changed_means_what_it_says():
    """All that was not given follows anew from what is."""
    changed = Config(prior="uniform").replace(labels="all")
    assert changed == Config(prior="uniform", labels="all") != Config(prior="uniform")
    assert changed.given == {"prior": "uniform", "labels": "all"}
    # What was given stays, also if it is the default.
    assert Config(hidden=(1000, 1000), prior="uniform").replace(labels="all").hidden == (1000, 1000)


def test_none_is_a_value_where_it_means_something():
    assert Config(recipe="reference").init_std == 0.01
    assert Config(recipe="reference", init_std=None).init_std is None
    # Elsewhere it means "not given".
    assert Config(epochs=None, hidden=None) == Config()
    assert Config(epochs=None).given == {}


def test_a_config_stays_as_it_is():
    config = Config(prior="uniform", labels=100, epochs=3)
    with pytest.raises(AttributeError, match="make another by its method replace"):
        config.epochs = 4
    with pytest.raises(AttributeError, match="'label_prior' has no setting 'epoch'"):
        config.epoch  # noqa: B018
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert other == config and other.given == config.given and hash(other) == hash(config)
    assert repr(config) == "Config(prior='uniform', epochs=3, labels=100)"
    assert "generator_rate" in dir(config)


def test_settings_of_one_mode():
    config = Config(mode="classification", labels=100)
    assert (config.style_dim, config.batch_size, config.optimizer) == (10, 400, "adam")
    assert config == Config(mode="classification", labels=100, code_noise=config.code_noise)
    with pytest.raises(ConfigError, match="code_dim=3: it is no setting of the mode classificat"):
        Config(mode="classification", labels=100, code_dim=3)
    with pytest.raises(ConfigError, match="style_dim=3: it is no setting of the mode label_prior"):
        Config(style_dim=3)
    with pytest.raises(ConfigError, match="it needs labels: add --labels N"):
        Config(mode="classification")
    with pytest.raises(ConfigError, match="recipe='paper': expected one of reference, default"):
        Config(recipe="paper")
    with pytest.raises(ConfigError, match="momentum=0.5: it is for --optimizer sgd, but here"):
        Config(momentum=0.5)
    assert Config(optimizer="sgd", momentum=0.5).momentum == 0.5


def test_one_recipe_fits_every_combination():
    """Of every mode, recipe, prior, labels and architecture; a tie would be an AAEError."""
    titles = set()
    for mode in modes.MODES:
        for recipe, prior, labels, arch in itertools.product(
            recipes.names_for(mode), PRIORS, ("none", "some", "all"), ("mlp", "conv")
        ):
            facts = {"mode": mode, "recipe": recipe, "prior": prior, "labels": labels, "arch": arch}
            titles.add(recipes.choose(facts).title)
    # Each has its use.
    assert titles >= {recipe.title for recipe in recipes.TABLE}
    for recipe in recipes.TABLE:
        known = {name for mode in recipe.when["mode"] for name in mode_settings(mode)}
        assert set(recipe.all_options()) <= known, recipe.title
        assert all(reason for _, reason in recipe.options.values()), recipe.title


def test_a_tie_of_recipes_is_an_error(monkeypatch):
    first = recipes.Recipe("one", {"mode": ("label_prior",), "recipe": ("default",)}, {})
    monkeypatch.setattr(recipes, "TABLE", [*recipes.TABLE, first])
    with pytest.raises(AAEError, match="'perceptrons without labels' and 'one' fit"):
        Config()


def test_settings_from_a_file(refused, tmp_path):
    (tmp_path / "run.json").write_text(
        json.dumps({"config": Config(epochs=3, seed=4).to_dict(), "given": ["epochs", "seed"]})
    )
    (tmp_path / "mine.json").write_text('{"prior": "uniform", "epochs": 1}')
    assert train._read_settings(tmp_path / "run.json") == {"epochs": 3, "seed": 4}
    assert train._read_settings(tmp_path / "mine.json") == {"prior": "uniform", "epochs": 1}
    (tmp_path / "broken.json").write_text('{"config": 3')
    for file in ("nowhere.json", "broken.json"):
        message = refused(train.main, "--config", tmp_path / file, code=1)
        assert f"{file}: no settings can be read from it" in message


def test_defaults_are_what_they_were():
    """See pins.py, which writes them anew when a change is meant."""
    assert pins.pins() == json.loads(pins.PINS.read_text())


def test_a_run_of_before_keeps_its_settings_when_one_changes():
    """Format 6 did not say what was given, so all was."""
    config = read_config(Path(__file__).parent / "runs/format-6/unsupervised")
    changed = config.replace(epochs=7)
    assert (changed.epochs, changed.hidden, changed.prior_std) == (7, (4, 3), 2.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"self": 1}, "self=1: there is no such setting"),
        ({"mode": 3}, "mode=3: expected a text"),
        ({"mode": "../x"}, "mode='../x': expected one of"),
        ({"prior": ["uniform"]}, "expected a text"),
        ({"labels": ["all"]}, "expected 'all', 'none' or a number"),
        ({"epochs": 10**400, "generator_rate": 0.1}, "expected at most"),
        ({"recipe": "x"}, "recipe='x': expected one of"),
    ],
)
def test_settings_of_a_stranger(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(settings)
