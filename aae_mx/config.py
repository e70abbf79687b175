"""The settings of a run: what decides what is trained, and nothing else.

The command line, the file ``config.json`` of a run and ``aae_mx.fit`` all read them here. A value
that is given wins over that of the recipe (recipes.py), which wins over the default of the setting.
"""

from __future__ import annotations

import os
import re
from typing import Any, Collection, Optional

from aae_mx import modes, priors, recipes
from aae_mx.errors import ConfigError, option_name
from aae_mx.hints import PathLike
from aae_mx.settings import FROM_RECIPE, IN_MEMORY, MAX_SIZE, Setting

ACTIVATIONS = ("relu", "tanh", "sigmoid", "softrelu", "softsign")
DEFAULT_MODE = "label_prior"

# The settings of every mode. Those that only some have are in modes/mode.py, or in their files.
COMMON = (
    Setting(
        "mode",
        str,
        DEFAULT_MODE,
        "The kind of model; --mode NAME --help shows what it takes.",
        "mode",
    ),
    Setting("prior", str, "gaussian", "The prior p(z).", "mode"),
    Setting(
        "recipe",
        str,
        "default",
        "Where the hyper-parameters start: 'default', 'reference' (label_prior: those of the "
        "original code) or 'paper' (classification: the paper's).",
        "mode",
    ),
    Setting(
        "dataset",
        str,
        "mnist",
        "'mnist' (in the package), or the name of an image set of OpenML to fetch.",
        "data",
        metavar="NAME",
    ),
    Setting(
        "data_dir",
        str,
        None,
        "Read the four IDX files, gzipped or not, from this directory instead.",
        "data",
        optional=True,
        metavar="DIR",
    ),
    Setting(
        "transpose",
        bool,
        False,
        "For --data-dir: exchange rows and columns of the images, as EMNIST's need it.",
        "data",
    ),
    Setting(
        "images",
        str,
        None,
        "Read the pictures (PNG, JPEG, WebP, BMP, GIF, TIFF) in this folder instead: flat, or one "
        "sub-folder per class, which then gives the labels. If it has train/ and test/ (or val/), "
        "the second is held out.",
        "data",
        optional=True,
        metavar="DIR",
    ),
    Setting(
        "image_size",
        int,
        FROM_RECIPE,
        "For --images: they are cut to squares and resized to so many pixels a side. [default: 64]",
        "data",
        choices=(28, 32, 64, 128),
    ),
    Setting(
        "channels",
        str,
        FROM_RECIPE,
        "For --images: read them in grey or in colour. [default: colour]",
        "data",
        choices=("grey", "colour"),
        also={"gray": "grey", "color": "colour"},
    ),
    Setting(
        "data",
        str,
        None,
        "Read arrays instead: FILE.npz with X, (N, features) or images, and if there are any y "
        "(-1: no label), X_test and y_test; FILE.npy with X alone; or a directory of X.npy and so "
        "on. What is .npy stays on the disk. Without X_test a seventh is held out.",
        "data",
        optional=True,
        metavar="FILE|DIR",
    ),
    *(
        Setting(
            f"{name.lower()}_key",
            str,
            name,
            f"For --data: the array that is {name}.",
            "data",
            metavar="NAME",
        )
        for name in ("X", "y", "X_test", "y_test")
    ),
    Setting(
        "shape",
        "numbers",
        None,
        "For --data: what a row is, as 28,28 for images that are rows of 784 numbers. [default: as "
        "it is]",
        "data",
        optional=True,
        at_least=1,
        at_most=MAX_SIZE - 1,
    ),
    Setting(
        "scale",
        str,
        FROM_RECIPE,
        "How values become those that the networks see: pixels (bytes over 255, or 0-1 as it is), "
        "or each feature to 0-1 (unit) or to mean 0 and standard deviation 1 (standard) over the "
        "training rows. [default: pixels; for rows of --data standard, unless they are bytes]",
        "data",
        choices=("pixels", "unit", "standard"),
    ),
    Setting(
        "limit",
        int,
        None,
        "Use only the first so many training and held-out images, to try things out.",
        "data",
        optional=True,
        at_least=1,
    ),
    Setting(
        "validation",
        int,
        0,
        "Keep the last so many training images out of the training, and measure on them after each "
        "epoch. The held-out images are for evaluate.",
        "data",
        at_least=0,
    ),
    Setting(
        "arch",
        str,
        FROM_RECIPE,
        "Encoder and decoder are perceptrons or convolutional networks. [default: mlp; with "
        "--images conv]",
        "networks",
        choices=("mlp", "conv"),
    ),
    Setting(
        "hidden",
        "numbers",
        (1000, 1000),
        "Hidden layers of the encoder; the decoder has them in reverse.",
        "networks",
        at_least=1,
        at_most=MAX_SIZE,
        only={"arch": "mlp"},
    ),
    Setting(
        "filters",
        int,
        32,
        "Filters of the encoder's first layer; each further one has twice as many, up to 8 times.",
        "networks",
        at_least=1,
        at_most=4096,
        only={"arch": "conv"},
    ),
    Setting(
        "discriminator_hidden",
        "numbers",
        (500, 500),
        "Hidden layers of the discriminator.",
        "networks",
        at_least=1,
        at_most=MAX_SIZE,
    ),
    Setting("activation", str, "relu", "Of the hidden layers.", "networks", choices=ACTIVATIONS),
    Setting(
        "init_std",
        float,
        None,
        "Standard deviation of the initial weights; without one, √(2 / inputs) of each layer.",
        "networks",
        optional=True,
        above=0,
    ),
    Setting("epochs", int, 20, "Passes over all training images.", at_least=1, at_most=10**6),
    Setting("batch_size", int, 100, "Images per step.", at_least=1),
    Setting(
        "decay",
        str,
        "linear",
        "Learning rates fall linearly to zero, stay, or are a tenth from epoch 51 and a hundredth "
        "from epoch 1,001 on.",
        choices=("linear", "none", "steps"),
    ),
    Setting(
        "optimizer",
        str,
        "adam",
        "Adam, or stochastic gradient descent with momentum.",
        choices=("adam", "sgd"),
    ),
    Setting(
        "beta1",
        float,
        0.1,
        "Adam's decay of the mean gradient.",
        at_least=0,
        below=1,
        only={"optimizer": "adam"},
    ),
    Setting(
        "beta2",
        float,
        0.999,
        "Adam's decay of the squared gradient.",
        at_least=0,
        below=1,
        only={"optimizer": "adam"},
    ),
    Setting("epsilon", float, 1e-8, "Adam's epsilon.", above=0, only={"optimizer": "adam"}),
    Setting(
        "momentum",
        float,
        0.9,
        "Of reconstruction and classification.",
        at_least=0,
        below=1,
        only={"optimizer": "sgd"},
    ),
    Setting(
        "adversarial_momentum",
        float,
        0.1,
        "Of discriminators and generators.",
        at_least=0,
        below=1,
        only={"optimizer": "sgd"},
    ),
    Setting("clip", float, 5.0, "Every entry of a gradient is clipped to ± this.", above=0),
    Setting(
        "reconstruction",
        str,
        "squared_error",
        "Reconstruction loss: half the squared error, or the cross-entropy, of pixels in 0-1.",
        choices=("squared_error", "cross_entropy"),
    ),
    Setting(
        "reduction",
        str,
        "mean",
        "Over an image's pixels; over the batch it is the mean.",
        choices=("sum", "mean"),
    ),
    Setting(
        "seed", int, 0, "Decides weights, labelled subset, shuffling and prior.", "run", at_least=0
    ),
    Setting("ctx", str, "cpu", "Where to compute: cpu, gpu or gpu(N).", "run", metavar="DEVICE"),
)
# What settings are by default for images, for a folder of them, and for rows of features.
OF_DATA = {
    "images": {"arch": "mlp", "code_dim": 2, "scale": "pixels"},
    "folder": {
        **{"arch": "conv", "code_dim": 64, "scale": "pixels"},
        **{"image_size": 64, "channels": "colour"},
    },
    "rows": {"arch": "mlp", "code_dim": 2, "scale": "standard"},
}
# What is otherwise than in the recipes for rows of features: they are few, and small.
OF_ROWS = {
    "epochs": 100,
    "batch_size": 50,
    "hidden": (200, 200),
    "discriminator_hidden": (200, 200),
}
# The settings that name a place of data, and what is there.
PLACES = {"images": "pictures", "data_dir": "IDX files", "data": "arrays"}


def mode_settings(mode: str, prior: Optional[str] = None) -> dict[str, Setting]:
    """The settings of a mode, {name: Setting} in order; of one prior, or of all.

    Raises ConfigError for a mode or prior that there is not.
    """
    chosen = modes.find(mode)
    kinds = priors.PRIORS.values() if prior is None else (priors.find(prior),)
    settings = [*COMMON, *chosen.all_settings()]
    settings += [setting for kind in kinds for setting in kind.settings().values()]
    return {setting.name: setting for setting in settings}


def all_settings() -> dict[str, Setting]:
    """The settings of all modes and priors, {name: Setting}; where defaults differ, the first."""
    found: dict[str, Setting] = {}
    for mode in modes.MODES:
        found = {**mode_settings(mode), **found}
    return found


class Config:
    """Everything that decides what is trained. Raises ConfigError for what cannot be.

    ``Config(prior="swiss_roll", labels="all", epochs=5)``: any setting that ``python -m
    aae_mx.train --mode MODE --help`` describes, by its name with underscores. ``prior`` may also be
    a Prior, as ``SwissRoll(turns=3.0)``. Each setting is an attribute. What was not given has the
    value of the recipe or its default; ``given`` has what was, {name: value}. None is a value where
    a setting can do without one (``init_std``, ``limit``, ``shape``, and the places of data), and
    elsewhere means "not given".
    """

    def __init__(self, /, **given: Any) -> None:
        if isinstance(given.get("prior"), priors.Prior):
            given = {**_of_prior(given["prior"]), **given, "prior": given["prior"].name}
        for name in ("mode", "prior"):
            value = _common(name).check(_given(given, name))
            given = {**given, name: value.replace("-", "_")} if name in given else given
        mode, prior = (_given(given, name) for name in ("mode", "prior"))
        settings = mode_settings(mode, prior)
        for name in sorted(given.keys() - settings.keys()):
            _refuse_foreign(name, given[name], mode, prior)
        self.given = {
            name: setting.check(given[name])
            for name, setting in settings.items()
            if name in given and (given[name] is not None or setting.optional)
        }
        values = {name: setting.default for name, setting in settings.items()}
        of_data = OF_DATA[_data_kind({**values, **self.given})]
        values.update({n: value for n, value in of_data.items() if n in values})
        values.update(self.given)
        self.recipe_entry = recipes.choose(_facts(values))
        by_recipe = {n: v for n, v in self.recipe_entry.values().items() if n in settings}
        # First what decides whether others have an effect.
        for name in sorted(by_recipe, key=lambda name: bool(settings[name].only)):
            if name not in self.given and _applies(settings[name], values):
                values[name] = by_recipe[name]
        if of_data is OF_DATA["rows"]:
            values.update({n: value for n, value in OF_ROWS.items() if n not in self.given})
        for name in PLACES:
            if values[name] is not None:
                # A run is read again from other working directories.
                values[name] = self.given[name] = os.path.abspath(values[name])
        self._values = values
        self._check_together(settings)

    def _check_together(self, settings):
        for name, setting in settings.items():
            value = self._values[name]
            if _applies(setting, self._values):
                if value is None and not setting.optional and name not in _OF_FOLDERS:
                    setting.check(value)
            elif name in self.given and value != setting.default and setting.only:
                owner, wanted = next(iter(setting.only.items()))
                raise ConfigError(
                    name,
                    value,
                    f"it is for {option_name(owner)} {wanted}, but here it is "
                    f"{self._values[owner]}",
                )
        for name in settings if self.data_kind == "rows" else ():
            if settings[name].of_images and self._values[name] != settings[name].default:
                what = "it is for images, and the data are rows of features"
                raise ConfigError(name, self._values[name], what)
        if self.data_kind == "rows" and self.arch == "conv":
            what = "it is for images, and the data are rows of features; take mlp"
            raise ConfigError("arch", self.arch, what)
        if self.scale == "standard" and self.reconstruction == "cross_entropy":
            what = "it is for values in 0-1; take --scale unit, or squared_error"
            raise ConfigError("reconstruction", self.reconstruction, what)
        for name in _OF_FOLDERS:
            if self.images is None and self._values[name] is not None:
                raise ConfigError(
                    name,
                    self._values[name],
                    "it is for a folder of images; give one by --images",
                )
        if self.transpose and self.data_dir is None:
            raise ConfigError(
                "transpose", True, "it is for IDX files; name their directory by --data-dir"
            )
        named = [name for name in PLACES if self._values[name] is not None]
        if self.dataset not in ("mnist", IN_MEMORY):
            named.append("dataset")
        if len(named) > 1:
            others = " or ".join(map(option_name, named[1:]))
            raise ConfigError(
                named[0], self._values[named[0]], f"it cannot be given beside {others}"
            )
        modes.find(self.mode).check(self)

    def __getattr__(self, name: str) -> Any:
        # Only asked for what is no ordinary attribute.
        values = self.__dict__.get("_values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"the mode {values.get('mode')!r} has no setting {name!r}")

    def __setattr__(self, name, value):
        if name not in ("_values", "given", "recipe_entry"):
            raise AttributeError("a Config does not change; make another by its method replace")
        super().__setattr__(name, value)

    def __dir__(self):
        return sorted([*super().__dir__(), *self._values])

    def __eq__(self, other):
        return isinstance(other, Config) and self._values == other._values

    def __hash__(self):
        return hash(tuple(self._values.items()))

    def __repr__(self):
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self.given.items())})"

    def __reduce__(self):
        return Config.from_dict, (self.to_dict(), list(self.given))

    def replace(self, **changes: Any) -> Config:
        """Another Config with ``changes`` to what was given; all else follows from that anew."""
        return Config(**{**self.given, **changes})

    def values_changed(self, **changes: Any) -> Config:
        """The same with other values of some settings, and no other consequence."""
        new = [name for name, value in changes.items() if value != self._values[name]]
        return Config.from_dict({**self._values, **changes}, [*self.given, *new])

    @property
    def prior_object(self) -> priors.Prior:
        """The Prior with its settings."""
        kind = priors.find(self.prior)
        return kind(**{field: self._values[s.name] for field, s in kind.settings().items()})

    @property
    def labels_kind(self) -> str:
        """``"none"``, ``"some"`` or ``"all"``."""
        return _facts(self._values)["labels"]

    @property
    def name(self) -> str:
        """A name for the run: what the mode calls it, and what differs in data and networks."""
        parts = list(modes.find(self.mode).names(self))
        if self.data_dir is not None:
            parts.append(os.path.basename(self.data_dir) or "data")
        elif self.data is not None:
            parts.append(os.path.splitext(os.path.basename(self.data))[0] or "data")
        elif self.images is not None:
            parts += [os.path.basename(self.images) or "images", str(self.image_size)]
        elif self.dataset != "mnist":
            parts.append(self.dataset)
        if self.arch != OF_DATA[self.data_kind]["arch"]:
            parts.append(self.arch)
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", "_".join(parts))

    @property
    def data_kind(self) -> str:
        """``"images"``, ``"folder"`` or ``"rows"``, of features."""
        return _data_kind(self._values)

    @property
    def place_name(self) -> Optional[str]:
        """Which of PLACES has the data, or None for those that are found by a name."""
        return next((name for name in PLACES if self._values[name] is not None), None)

    @property
    def place(self) -> Optional[str]:
        """Where they are."""
        return self.place_name and self._values[self.place_name]

    def moved(self, **places: Optional[PathLike]) -> Config:
        """The same with the data at another place, if one is given by its name in PLACES.

        Raises ConfigError for a place of another kind than it has. Arrays that were in memory may
        now be in a file.
        """
        places = {name: place for name, place in places.items() if place is not None}
        for name, place in places.items():
            if self.dataset == IN_MEMORY and name == "data":
                continue
            if name != self.place_name:
                own = self.place_name
                instead = f"; name a new place by {option_name(own)}" if own else ""
                where = self.place or f"the dataset {self.dataset}"
                raise ConfigError(name, place, f"the run was trained on {where}{instead}")
        return self.values_changed(**places)

    def to_dict(self) -> dict[str, Any]:
        """Every setting of its mode and prior, {name: value}, as JSON can hold it."""
        return dict(self._values)

    @classmethod
    def from_dict(cls, settings: dict[str, Any], given: Collection[str] = ()) -> Config:
        """The inverse of ``to_dict``; ``given``: the names of what was given.

        A setting that a run of an earlier version does not have is at its own default, at which
        it has no effect, whatever the recipe of today says. Raises ConfigError for an unknown name
        or a bad value.
        """
        mode, prior = settings.get("mode"), settings.get("prior")
        # What is no text is refused below.
        known: dict[str, Setting] = {}
        if isinstance(mode, str) and isinstance(prior, str):
            known = mode_settings(mode, prior)
        defaults = {n: s.default for n, s in known.items() if s.default is not None}
        config = cls(**{**defaults, **settings})
        # All are as they were, whatever a recipe says today; but that was not asked for.
        config.given = {n: v for n, v in config.given.items() if n in given}
        return config


_OF_FOLDERS = ("image_size", "channels")


def _data_kind(values):
    if values["images"] is not None:
        return "folder"
    shape = values["shape"]
    return "rows" if shape is not None and len(shape) == 1 else "images"


def _common(name):
    return next(setting for setting in COMMON if setting.name == name)


def _given(given, name):
    return _common(name).default if given.get(name) is None else given[name]


def _of_prior(prior):
    settings = type(prior).settings()
    return {setting.name: getattr(prior, field) for field, setting in settings.items()}


def _facts(values):
    """What decides the recipe."""
    labels = values.get("labels", "none")
    facts = {name: values[name] for name in ("mode", "recipe", "arch", "prior")}
    return {**facts, "labels": labels if labels in ("none", "all") else "some"}


def _applies(setting, values):
    if setting.of_images and _data_kind(values) == "rows":
        return False
    return all(values[name] == value for name, value in setting.only.items())


def _refuse_foreign(name, value, mode, prior):
    """Raise ConfigError for a setting that this mode and prior do not have.

    Not if it is another's with its default: runs of before version 0.2 hold those of all priors.
    """
    other = all_settings().get(name)
    if other is None:
        raise ConfigError(name, value, "there is no such setting")
    if value == other.default:
        return
    owner = other.only.get("prior")
    if owner:
        what = f"it shapes the {owner} prior, but the prior here is {prior}"
    else:
        what = f"it is no setting of the mode {mode}"
    raise ConfigError(name, value, what)
