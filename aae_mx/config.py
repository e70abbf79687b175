"""The settings of a run: the only home of their defaults, limits and descriptions.

The command line, the file ``config.json`` of a run and ``aae_mx.fit`` all read them here.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from typing import Optional, Tuple, Union

from aae_mx import priors
from aae_mx.errors import ConfigError, option_name

ACTIVATIONS = ("relu", "tanh", "sigmoid", "softrelu", "softsign")


def _setting(default, help, **limits):
    """A field of Config.

    ``limits``: choices, also ({another spelling: choice}; one with hyphens always is), at_least,
    above, below, prior (the one it is for).
    """
    texts = (choice for choice in limits.get("choices", ()) if isinstance(choice, str))
    hyphens = {choice.replace("_", "-"): choice for choice in texts}
    limits["also"] = {**hyphens, **limits.get("also", {})}
    return dataclasses.field(default=default, metadata={"help": help, **limits})


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides what is trained. Raises ConfigError for what cannot be.

    ``labels`` chooses the formulation: ``"none"`` is unsupervised, ``"all"`` supervised,
    a number N semi-supervised with N labelled training images. Settings that are None take
    the value of ``recipe``, see ``RECIPES``. ``python -m aae_mx.train --help`` describes every
    setting. Those of the data and the networks that are None by default become what suits the
    data, see ``_DATA``.
    """

    prior: str = _setting("gaussian", "The prior p(z).", choices=tuple(priors.PRIORS))
    labels: Union[str, int] = _setting(
        "none",
        "Condition the discriminator on labels. Without a value: on the label of every "
        "training image (supervised). With a number N: on those of N training images, as many "
        "of each class, the rest marked unknown (semi-supervised).",
    )

    dataset: str = _setting(
        "mnist", "'mnist' (in the package), or the name of an image set of OpenML to fetch."
    )
    data_dir: Optional[str] = _setting(
        None, "Read the four IDX files, gzipped or not, from this directory instead."
    )
    transpose: bool = _setting(
        False, "For --data-dir: exchange rows and columns of the images, as EMNIST's need it."
    )
    images: Optional[str] = _setting(
        None,
        "Read the pictures (PNG, JPEG, WebP, BMP, GIF, TIFF) in this folder instead: flat, or one "
        "sub-folder per class, which then gives the labels. If it has train/ and test/ (or val/), "
        "the second is held out.",
    )
    image_size: Optional[int] = _setting(
        None,
        "For --images: they are cut to squares and resized to so many pixels a side. [default: 64]",
        choices=(28, 32, 64, 128),
    )
    channels: Optional[str] = _setting(
        None,
        "For --images: read them in grey or in colour. [default: colour]",
        choices=("grey", "colour"),
        also={"gray": "grey", "color": "colour"},
    )
    limit: Optional[int] = _setting(
        None,
        "Use only the first so many training and held-out images, to try things out.",
        at_least=1,
    )

    recipe: str = _setting(
        "default",
        "Where the hyper-parameters start: 'default', or those of the original code.",
        choices=("default", "reference"),
    )
    epochs: int = _setting(None, "Passes over all training images.", at_least=1)
    batch_size: int = _setting(None, "Images per step.", at_least=1)
    reconstruction_rate: float = _setting(
        None, "Adam's learning rate of the encoder in the reconstruction phase.", above=0
    )
    decoder_rate: float = _setting(None, "Adam's learning rate of the decoder.", above=0)
    discriminator_rate: float = _setting(
        None, "Adam's learning rate in the discriminator phase.", above=0
    )
    generator_rate: float = _setting(None, "Adam's learning rate in the generator phase.", above=0)
    discriminator_steps: int = _setting(
        None,
        "Discriminator steps per batch, each with prior samples of its own.",
        at_least=1,
    )
    decay: str = _setting(
        None, "Learning rates fall linearly to zero, or stay.", choices=("linear", "none")
    )
    labelled_share: float = _setting(
        0.25,
        "Semi-supervised: the share of every batch that is drawn from the labelled images, "
        "besides the pass over all images.",
        at_least=0,
        below=1,
    )
    encoder_adam: str = _setting(
        None,
        "The encoder's reconstruction and generator phases have an Adam each, or share one.",
        choices=("separate", "shared"),
    )
    image_warp: float = _setting(
        None,
        "Each training image is turned, stretched, sheared and moved at random: the six numbers "
        "of the affine map lie so far from those of none at most (moving is in half an image's "
        "side). It falls to zero as the square root of what is left of the training.",
        at_least=0,
        below=1,
    )
    hidden_noise: Optional[float] = _setting(
        None,
        "Standard deviation of a noise of mean 1 that multiplies the units of the encoder's first "
        "hidden layer in training, as a dropout; it falls linearly to zero.",
        at_least=0,
        arch="mlp",
    )
    code_noise: float = _setting(
        None,
        "Standard deviation of the noise on the discriminator's inputs in training; it falls to "
        "zero.",
        at_least=0,
    )
    code_noise_decay: str = _setting(
        None,
        "That noise falls with what is left of the training, or with its square: then it is small "
        "while the learning rates are not yet.",
        choices=("linear", "quadratic"),
    )
    classifier_weight: float = _setting(
        None,
        "With labels: the weight, in the generator's loss, of what a classifier says of the codes; "
        "it learns on prior samples to tell their labels.",
        at_least=0,
    )
    pseudo_label_weight: float = _setting(
        None,
        "Semi-supervised: where the classifier is sure of the code of an image without a label, "
        "the generator phase takes its answer for the label, of the image warped once more; with "
        "this weight, which grows linearly from zero.",
        at_least=0,
    )
    beta1: float = _setting(
        None,
        "Adam's decay of the mean gradient. [default: 0.1; --arch conv 0.5]",
        at_least=0,
        below=1,
    )
    beta2: float = _setting(0.999, "Adam's decay of the squared gradient.", at_least=0, below=1)
    epsilon: float = _setting(1e-8, "Adam's epsilon.", above=0)
    clip: float = _setting(5.0, "Every entry of a gradient is clipped to ± this.", above=0)
    reconstruction: str = _setting(
        "squared_error",
        "Reconstruction loss: half the squared error, or the cross-entropy, of pixels in 0-1.",
        choices=("squared_error", "cross_entropy"),
    )
    reduction: str = _setting(
        None, "Over an image's pixels; over the batch it is the mean.", choices=("sum", "mean")
    )

    arch: str = _setting(
        None,
        "Encoder and decoder are perceptrons or convolutional networks. [default: mlp; with "
        "--images conv]",
        choices=("mlp", "conv"),
    )
    code_dim: int = _setting(
        None,
        "Dimensions of the code z; an even number for priors that are drawn in pairs of them "
        "(gaussian_mixture, swiss_roll). [default: 2; with --images 64]",
        at_least=2,
    )
    hidden: Optional[Tuple[int, ...]] = _setting(
        None,
        "Hidden layers of the encoder; the decoder has them in reverse.",
        at_least=1,
        arch="mlp",
    )
    filters: int = _setting(
        32,
        "Filters of the encoder's first layer; each further one has twice as many, up to 8 times.",
        at_least=1,
        arch="conv",
    )
    discriminator_hidden: Tuple[int, ...] = _setting(
        (500, 500), "Hidden layers of the discriminator.", at_least=1
    )
    activation: str = _setting("relu", "Of the hidden layers.", choices=ACTIVATIONS)
    init_std: Optional[float] = _setting(
        None,
        "Standard deviation of the initial weights. [default: 0.01, with labels or for swiss_roll "
        "√(2 / inputs) of each layer; --arch conv 0.01]",
        above=0,
    )

    prior_std: float = _setting(
        priors.GAUSSIAN_STD, "Standard deviation of the Gaussian.", above=0, prior="gaussian"
    )
    mixture_std_x: float = _setting(
        priors.MIXTURE_STD_X,
        "Standard deviation of a petal along its axis.",
        above=0,
        prior="gaussian_mixture",
    )
    mixture_std_y: float = _setting(
        priors.MIXTURE_STD_Y,
        "Standard deviation of a petal across it.",
        above=0,
        prior="gaussian_mixture",
    )
    mixture_shift: float = _setting(
        priors.MIXTURE_SHIFT,
        "Distance of a petal's middle from the origin.",
        at_least=0,
        prior="gaussian_mixture",
    )
    roll_radius: float = _setting(
        priors.ROLL_RADIUS, "Outer radius of the swiss roll.", above=0, prior="swiss_roll"
    )
    roll_turns: float = _setting(
        priors.ROLL_TURNS, "Turns of the swiss roll.", above=0, prior="swiss_roll"
    )
    extent: float = _setting(
        priors.UNIFORM_EXTENT, "Half the side of the uniform square.", above=0, prior="uniform"
    )

    seed: int = _setting(0, "Decides weights, labelled subset, shuffling and prior.", at_least=0)
    ctx: str = _setting("cpu", "Where to compute: cpu, gpu or gpu(N).")

    def __post_init__(self):
        fields = {field.name: field for field in dataclasses.fields(self)}
        for field in fields.values():
            value = getattr(self, field.name)
            if isinstance(value, str):
                object.__setattr__(self, field.name, field.metadata["also"].get(value, value))
        for name in ("recipe", "labels"):
            _check(fields[name], getattr(self, name))
        for name, value in _DATA[self.images is not None].items():
            self._default(name, value)
        if self.arch == "conv" and self.recipe == "default":
            for name, value in CONV[self.labels != "none"].items():
                self._default(name, value)
        recipe = RECIPES[self.recipe][self.labels != "none"]
        if (self.recipe, self.prior, self.labels) == ("default", "swiss_roll", "none"):
            recipe = ROLL
        for name, value in recipe.items():
            if fields[name].metadata.get("arch") in (None, self.arch):
                self._default(name, value)
        self._default("beta1", 0.1)
        for field in fields.values():
            # JSON has no tuples and NumPy's numbers are not Python's.
            value = getattr(self, field.name)
            if isinstance(value, list):
                value = tuple(value)
            elif hasattr(value, "item"):
                value = value.item()
            elif isinstance(value, int) and not isinstance(value, bool) and "float" in field.type:
                value = float(value)
            object.__setattr__(self, field.name, value)
            _check(field, value)
        for name in ("data_dir", "images"):
            if getattr(self, name) is not None:
                # A run is read again from other working directories.
                object.__setattr__(self, name, os.path.abspath(getattr(self, name)))
        if self.prior == "gaussian" and self.labels != "none":
            raise ConfigError(
                "prior",
                self.prior,
                "the single Gaussian has no pieces that labels could name; with labels use "
                "gaussian_mixture, swiss_roll or uniform",
            )
        if self.code_dim % 2 and self.prior not in priors.ODD_DIMENSIONS:
            raise ConfigError(
                "code_dim",
                self.code_dim,
                f"expected an even number, as {self.prior} is drawn in pairs of dimensions",
            )
        for field in dataclasses.fields(self):
            owner = field.metadata.get("prior")
            if owner not in (None, self.prior) and getattr(self, field.name) != field.default:
                raise ConfigError(
                    field.name,
                    getattr(self, field.name),
                    f"it shapes the {owner} prior, but the prior here is {self.prior}",
                )
            owner = field.metadata.get("arch")
            if owner not in (None, self.arch) and getattr(self, field.name) != field.default:
                raise ConfigError(
                    field.name,
                    getattr(self, field.name),
                    f"it shapes networks of --arch {owner}, but here it is {self.arch}",
                )
        for name in ("image_size", "channels"):
            if self.images is None and getattr(self, name) is not None:
                raise ConfigError(
                    name, getattr(self, name), "it is for a folder of images; give one by --images"
                )
        if self.transpose and self.data_dir is None:
            raise ConfigError(
                "transpose", True, "it is for IDX files; name their directory by --data-dir"
            )
        if self.images is not None and (self.data_dir is not None or self.dataset != "mnist"):
            raise ConfigError(
                "images", self.images, "it cannot be given beside --data-dir or --dataset"
            )
        if self.data_dir is not None and self.dataset != "mnist":
            raise ConfigError(
                "data_dir",
                self.data_dir,
                f"the data cannot be both a directory and the dataset {self.dataset!r}; give one",
            )

    def _default(self, name, value):
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)

    @property
    def formulation(self):
        """``unsupervised``, ``supervised`` or ``semi_supervised``, as in the post."""
        return {"none": "unsupervised", "all": "supervised"}.get(self.labels, "semi_supervised")

    @property
    def pseudo_labels(self):
        """Whether training guesses labels: only semi-supervised, and by a classifier."""
        weights = self.classifier_weight, self.pseudo_label_weight
        return self.formulation == "semi_supervised" and min(weights) > 0

    @property
    def name(self):
        """A name for the run: the prior, the formulation, and what differs in data and networks."""
        parts = [self.prior, self.formulation]
        if self.formulation == "semi_supervised":
            parts.append(str(self.labels))
        if self.data_dir is not None:
            parts.append(os.path.basename(self.data_dir) or "data")
        elif self.images is not None:
            parts += [os.path.basename(self.images) or "images", str(self.image_size)]
        elif self.dataset != "mnist":
            parts.append(self.dataset)
        if self.arch != _DATA[self.images is not None]["arch"]:
            parts.append(self.arch)
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", "_".join(parts))

    @property
    def place(self):
        """The directory of the data, or None for those that are found by a name."""
        return self.data_dir if self.images is None else self.images

    def moved(self, images=None, data_dir=None):
        """The same with the data at another place, if one is given.

        Raises ConfigError for a place of another kind than it has.
        """
        given = {"images": images, "data_dir": data_dir}
        given = {name: place for name, place in given.items() if place is not None}
        for name, place in given.items():
            if getattr(self, name) is None:
                own = "images" if self.images is not None else "data_dir"
                instead = f"; name a new place by {option_name(own)}" if self.place else ""
                where = self.place or f"the dataset {self.dataset}"
                raise ConfigError(name, place, f"the run was trained on {where}{instead}")
        return dataclasses.replace(self, **given)

    @property
    def prior_parameters(self):
        """The prior's own settings, as keyword arguments of its function in ``priors``."""
        names = {
            "gaussian": {"std": "prior_std"},
            "gaussian_mixture": {
                "std_x": "mixture_std_x",
                "std_y": "mixture_std_y",
                "shift": "mixture_shift",
            },
            "swiss_roll": {"radius": "roll_radius", "turns": "roll_turns"},
            "uniform": {"extent": "extent"},
        }[self.prior]
        return {argument: getattr(self, field) for argument, field in names.items()}

    def to_dict(self):
        """A dictionary of every setting that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, settings):
        """The inverse of ``to_dict``. Raises ConfigError for an unknown name or a bad value."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in known:
                raise ConfigError(name, settings[name], "there is no such setting")
        return cls(**settings)


# The hyper-parameters of each recipe, without and with labels. The reference is the original
# code's; the README says what the default was measured to gain.
_REFERENCE = {
    "epochs": 20,
    "batch_size": 100,
    "reconstruction_rate": 2e-3,
    "decoder_rate": 2e-3,
    "discriminator_rate": 4e-4,
    "generator_rate": 2e-3,
    "discriminator_steps": 1,
    "decay": "none",
    "encoder_adam": "shared",
    "classifier_weight": 0.0,
    "pseudo_label_weight": 0.0,
    "image_warp": 0.0,
    "code_noise": 0.0,
    "code_noise_decay": "linear",
    "hidden_noise": 0.0,
    "reduction": "mean",
    "hidden": (1000, 1000),
    "init_std": 0.01,
}
RECIPES = {
    "reference": (_REFERENCE, {**_REFERENCE, "discriminator_rate": 2e-3}),
    "default": (
        {
            **_REFERENCE,
            "decoder_rate": 3e-3,
            "decay": "linear",
            "code_noise": 0.2,
            "code_noise_decay": "quadratic",
        },
        {
            "epochs": 20,
            "batch_size": 100,
            "reconstruction_rate": 4e-4,
            "decoder_rate": 1.6e-3,
            "discriminator_rate": 2e-3,
            "generator_rate": 2e-3,
            "discriminator_steps": 2,
            "decay": "linear",
            "encoder_adam": "separate",
            "classifier_weight": 1.0,
            "pseudo_label_weight": 1.0,
            "image_warp": 0.15,
            "hidden_noise": 0.8,
            "code_noise": 0.2,
            "code_noise_decay": "linear",
            "reduction": "sum",
            "hidden": (1000, 1000, 200, 200, 200, 200),
        },
    ),
}
# What the default recipe has for the swiss roll without labels: to bend the plane onto a curve also
# takes the deeper networks, a reconstruction that does not hold the encoder back, and noise that
# starts larger. There are no labels to learn by heart.
ROLL = {
    **RECIPES["default"][1],
    "reconstruction_rate": 1.5e-4,
    "classifier_weight": 0.0,
    "pseudo_label_weight": 0.0,
    "image_warp": 0.0,
    "hidden_noise": 0.0,
    "code_noise": 0.4,
    "code_noise_decay": "quadratic",
}


# What settings are by default for other data, and for a folder of images.
_DATA = (
    {"arch": "mlp", "code_dim": 2},
    {"arch": "conv", "code_dim": 64, "image_size": 64, "channels": "colour"},
)
# What the default recipe has for convolutional networks, without and with labels.
_CONV = {
    "epochs": 40,
    "batch_size": 64,
    "reconstruction_rate": 1e-3,
    "decoder_rate": 2e-3,
    "discriminator_rate": 1e-3,
    "generator_rate": 2e-4,
    "beta1": 0.5,
    "discriminator_steps": 1,
    "decay": "linear",
    "encoder_adam": "separate",
    "classifier_weight": 0.0,
    "pseudo_label_weight": 0.0,
    "image_warp": 0.0,
    "code_noise": 0.5,
    "code_noise_decay": "linear",
    "reduction": "mean",
    "init_std": 0.01,
}
CONV = (
    _CONV,
    {
        **_CONV,
        "reconstruction_rate": 4e-4,
        "generator_rate": 1e-3,
        "discriminator_steps": 2,
        "classifier_weight": 1.0,
        "code_noise": 0.2,
    },
)


def _check(field, value):
    """Raise ConfigError unless ``value`` has the type and lies in the limits of ``field``."""
    if field.name == "labels":
        if value not in ("none", "all") and not (_is(int, value) and value >= 1):
            raise ConfigError(
                "labels", value, "expected 'all', 'none' or a number of images, at least 1"
            )
        return
    if value is None and "Optional" in field.type:
        return
    limits = field.metadata
    several = "Tuple" in field.type
    if several and not (isinstance(value, tuple) and value):
        raise ConfigError(field.name, value, "expected numbers with commas between, as 1000,1000")
    for item in value if several else (value,):
        kind = next(kind for kind in _KINDS if kind.__name__ in field.type)
        if not _is(kind, item):
            name = _KINDS[kind]
            raise ConfigError(field.name, value, f"expected {name}")
        choices = ", ".join(map(str, limits.get("choices", ())))
        if choices and item not in limits["choices"]:
            raise ConfigError(field.name, value, f"expected one of {choices}")
        if "at_least" in limits and item < limits["at_least"]:
            raise ConfigError(field.name, value, f"expected at least {limits['at_least']}")
        if "above" in limits and item <= limits["above"]:
            raise ConfigError(field.name, value, f"expected more than {limits['above']}")
        if "below" in limits and item >= limits["below"]:
            raise ConfigError(field.name, value, f"expected less than {limits['below']}")
    if field.name == "ctx" and not re.fullmatch(r"cpu|gpu(\(\d{1,3}\))?", value):
        raise ConfigError("ctx", value, "expected cpu, gpu or gpu(N)")


# What a value can be, and what it is called.
_KINDS = {
    bool: "True or False",
    float: "a finite number",
    int: "a whole number",
    str: "a text",
}


def _is(kind, value):
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, kind):
        return False
    return kind is not float or math.isfinite(value)
