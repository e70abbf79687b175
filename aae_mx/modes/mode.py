"""What a kind of adversarial autoencoder has to say for itself: the contract of a mode.

The training loop, the commands and the figures know no mode. They ask a Mode for its networks, for
what moves them, for the random numbers of an epoch and for one step on a batch; and, of a trained
one, to encode, decode and sample. examples/own_mode.py is one in some sixty lines.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from aae_mx import backend, exchange, priors, recipes
from aae_mx.errors import ConfigError, InputError
from aae_mx.hints import (
    Batch,
    Block,
    Config,
    Context,
    Exports,
    Generator,
    Labels,
    Learn,
    MaybeArray,
    NDArray,
    Operators,
    Pair,
    Parameter,
    Shape,
)
from aae_mx.modes.settings import SETTINGS
from aae_mx.settings import Setting

# {name: class}; a subclass of Mode with a name joins them.
MODES: dict[str, type[Mode]] = {}


class Moves(NamedTuple):
    """What an optimizer moves: the names of networks, and of the setting that is its rate.

    ``adversarial``: whether it plays a game; then SGD takes the momentum of those.
    """

    networks: Tuple[str, ...]
    rate: str
    adversarial: bool = False


class Mode:
    """A kind of model. ``config``: a Config; ``image_shape``: (height, width) or (height, width,
    3); ``classes``: the names of the labels, none for images without; ``ctx``: MXNet's Context.

    ``initialise`` fills the networks; before, they take no memory.
    """

    # As --mode has it, and a line about it.
    name: str = ""
    summary = ""
    # Names of modes/settings.py, or Settings of its own; and the values of its default recipe,
    # where recipes.py has none.
    settings: tuple[Union[str, Setting], ...] = ()
    recipe: dict[str, Any] = {}
    # The setting that has the dimensions of the code.
    dimensions = "code_dim"
    # The keys of what a step returns, in the order of the history's columns. Those that end in
    # _entropy are cross-entropies in nats; there is a reconstruction_loss.
    metrics: tuple[str, ...] = ()
    # What a training shows of a row of the history, on a terminal and in the log.
    bar = line = ""
    # {optimizer: Moves}, and {optimizer: the one whose state it shares}.
    optimizers: dict[str, Moves] = {}
    shares: dict[str, str] = {}
    # Names of what report/ can draw and measure, in order.
    figures: tuple[str, ...] = (
        *("pz", "qz", "output", "reconstructions", "samples", "interpolations", "losses"),
    )
    measures: tuple[str, ...] = ("match", "neighbours", "reconstruction", "samples")
    # Whether the pieces of p(z) stand for kinds, whether the decoder takes a kind beside the code,
    # whether that has to be told of an image to give it back, and whether the mode finds it.
    labels_are_pieces = decodes_labels = needs_labels = classifies = False
    # Those of the last batch, see ``step``.
    codes: NDArray
    # A Phase, see ``reconstruction_phase``; and a Game, see ``told``.
    reconstruct: Any
    game: Any

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if not cls.name:
            return
        there = MODES.get(cls.name)
        if there and (there.__module__, there.__qualname__) != (cls.__module__, cls.__qualname__):
            raise InputError(f"there is a mode {cls.name!r} already; choose another name")
        needed = ["build", "step"]
        if cls.classifies:
            needed.append("classify")
        if cls.decodes_labels and not cls.needs_labels:
            needed.append("represent")
        missing = [name for name in needed if getattr(cls, name) is getattr(Mode, name)]
        if missing:
            raise InputError(f"the mode {cls.name!r} has no method {', '.join(missing)}")
        MODES[cls.name] = cls
        if cls.recipe:
            recipes.add(cls.name, cls.recipe)

    def __init__(
        self, config: Config, image_shape: Shape, classes: Sequence[str], ctx: Context
    ) -> None:
        self.config, self.ctx = config, ctx
        self.image_shape, self.classes = tuple(image_shape), tuple(classes)
        self.n_pixels = int(np.prod(self.image_shape))
        self.prior = config.prior_object
        # Into how many pieces the prior falls: one per label, ten as in the post without any.
        self.n_pieces = len(self.classes) or 10
        self.exchange = exchange.of_environment()
        self.networks = self.build()

    @classmethod
    def all_settings(cls) -> list[Setting]:
        """Its settings, in order."""
        return [SETTINGS[s] if isinstance(s, str) else s for s in cls.settings]

    @classmethod
    def check(cls, config: Config) -> None:
        """Raise ConfigError for settings that do not go together."""
        n = getattr(config, cls.dimensions)
        if n % 2 and priors.find(config.prior).paired:
            raise ConfigError(
                cls.dimensions,
                n,
                f"expected an even number, as {config.prior} is drawn in pairs of dimensions",
            )

        if {"decoder_epochs", "decoder_noise"} <= {setting.name for setting in cls.all_settings()}:
            n, noise = config.decoder_epochs, config.decoder_noise
            if n >= config.epochs:
                what = f"expected less than the {config.epochs} epochs, whose last ones they are"
                raise ConfigError("decoder_epochs", n, what)
            if noise and not n:
                what = "it is for the epochs of the decoder alone; give --decoder-epochs"
                raise ConfigError("decoder_noise", noise, what)

    @classmethod
    def names(cls, config: Config) -> tuple[str, ...]:
        """The parts of the name of a run that come from its mode."""
        return (cls.name, config.prior)

    @staticmethod
    def other_prior(config: Config) -> tuple[str, ...]:
        """For ``names``: the prior, if it is not the Gaussian, which such a mode usually has."""
        return () if config.prior == "gaussian" else (config.prior,)

    def build(self) -> dict[str, Block]:
        """The networks, {name: HybridBlock}, in the order in which their weights are drawn."""
        # Only types need a body here: __init_subclass__ refuses a mode without one of its own.
        raise NotImplementedError

    def autoencoder(self, n_codes: int, n_decoded: Optional[int] = None) -> dict[str, Block]:
        """For ``build``: an encoder to so many numbers and a decoder, of the config's architecture.

        The decoder takes as many, or ``n_decoded``.
        Also makes ``reconstruction_loss``, ``label_loss`` and what ``encode_with`` needs.
        """
        from aae_mx.networks.build import autoencoder
        from aae_mx.networks.losses import LabelLoss, ReconstructionLoss
        from aae_mx.networks.perceptrons import NoisyEncoder

        encoder, decoder = autoencoder(self.config, self.image_shape, n_codes, n_decoded)
        self.reconstruction_loss = ReconstructionLoss.of(self.config, self.n_pixels)
        self.label_loss = LabelLoss()
        self.noisy_encoder = NoisyEncoder(encoder)
        return {"encoder": encoder, "decoder": decoder}

    def discriminator(self, n_codes: int, n_conditions: int = 0) -> Block:
        """For ``build``: a discriminator of so many numbers, beside a one-hot of n_conditions."""
        from aae_mx.networks.perceptrons import Discriminator

        hidden, activation = self.config.discriminator_hidden, self.config.activation
        return Discriminator(n_codes, n_conditions, hidden, activation)

    def encode_with(self, noise: MaybeArray, images: NDArray) -> NDArray:
        """What the encoder makes of images, its first hidden layer times 1 + noise, if any."""
        if noise is None:
            return self.networks["encoder"](images)
        return self.noisy_encoder(images, noise)

    def reconstruction(self, F: Operators, given: Any) -> tuple[NDArray, ...]:
        """Of a Phase: what encoder and decoder have to learn of ``given`` images and noise.

        The loss, L2 and the codes, which stand beside ``given.labels`` if there are some.
        """
        codes = self.encode_with(given.noise, given.images)
        decoded = codes if given.labels is None else F.concat(given.labels, codes, dim=1)
        loss, l2 = self.reconstruction_loss(self.networks["decoder"](decoded), given.images)
        return loss, l2, F.BlockGrad(codes)

    def told(self, F: Operators, given: Any) -> tuple[NDArray, ...]:
        """Of a Phase: what the discriminator of ``game`` has to learn of ``given`` codes.

        ``given.fake`` and ``given.real`` (N, D), and ``given.beside``. Returns what ``tell`` does.
        """
        return self.game.tell(given.fake, given.real, given.beside)

    def reconstruction_phase(
        self,
        images: NDArray,
        hidden_noise: MaybeArray,
        learn: Learn,
        decoder_noise: MaybeArray = None,
    ) -> Pair:
        """Train encoder and decoder to give ``images`` (N, pixels) back; keeps the codes.

        With a ``decoder_noise`` (N, code_dim) on the codes the decoder alone. Returns the loss and
        L2. Of modes whose ``reconstruct`` is a Phase of ``reconstruction``.
        """
        loss, l2, codes = self.reconstruct(images=images, noise=hidden_noise)
        self.codes = codes.detach()
        if decoder_noise is None:
            learn(loss, "encoder", "decoder")
            return loss, l2
        with backend.mx.autograd.record():
            decoded = self.networks["decoder"](self.codes + decoder_noise)
            of_decoder, _ = self.reconstruction_loss(decoded, images)
        learn(of_decoder, "decoder")
        return loss, l2

    def parameters(self) -> dict[str, Parameter]:
        """The parameters of all networks, {"network/name": Gluon's Parameter}."""
        from aae_mx.networks.build import parameters

        return {
            f"{name}/{key}": parameter
            for name, network in self.networks.items()
            for key, parameter in parameters(network).items()
        }

    def draw(self, rng: Generator, labels: Labels, left: np.ndarray) -> dict[str, Any]:
        """Every random number of an epoch of N images, {name: (N, ...)}, in any case in one order.

        ``rng``: a NumPy Generator. ``labels``: int64 (N,), in the order of the epoch, with
        len(classes) for "unknown"; or None. ``left``: (N,), how large a share of the training is
        left at each image; 0 where the decoder learns alone. NumPy arrays, or what gives an NDArray
        for a slice of rows.
        """
        return {}

    def step(self, batch: Batch, learn: Learn) -> dict[str, NDArray]:
        """The phases on one batch; returns {metric: NDArray (1,)}, not waited for.

        ``batch``: ``images`` (N, pixels) in 0–1, ``left``, and what ``draw`` gave, by name; None
        for what it did not. ``learn(loss, *optimizers)`` goes back from a loss and steps them.
        ``self.codes`` is then (N, code_dim), those of the batch.
        """
        # As for build.
        raise NotImplementedError

    def encode(self, images: NDArray) -> NDArray:
        """Codes z (N, code_dim) of images (N, pixels) in 0–1, on the device."""
        return self.networks["encoder"](images)

    def represent(self, images: NDArray) -> Pair:
        """Codes and kinds of images, which ``decode`` takes to give them back.

        Of modes that find the kinds and decode them.
        """
        # As for build, where a mode finds kinds and decodes them; nothing asks others.
        raise NotImplementedError

    def decode(self, codes: NDArray) -> NDArray:
        """Values (N, pixels) of codes (N, code_dim), on the device; see ``output``."""
        return self.output(backend.mx.nd, self.networks["decoder"](codes))

    def output(self, F: Operators, logits: NDArray) -> NDArray:
        """What the decoder's last layer stands for: values in 0–1, but for the scale standard."""
        return logits if self.config.scale == "standard" else F.sigmoid(logits)

    def classify(self, images: NDArray) -> NDArray:
        """Probabilities of the kinds, (N, kinds), if it ``classifies``."""

    def sample_prior(
        self, n: int, rng: Generator, labels: Labels = None
    ) -> tuple[np.ndarray, Labels]:
        """``n`` codes of the prior and the labels of their pieces; None where it has none."""
        return self.prior.sample(n, rng, self.code_dim, self.n_pieces, labels)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the kinds y: the classes, or clusters that were found."""
        return self.classes

    def head_codes(self) -> Optional[np.ndarray]:
        """Where the middle of each kind is among the codes, float32 (kinds, code_dim); or None."""

    @property
    def code_dim(self) -> int:
        return getattr(self.config, self.dimensions)

    @property
    def labelled_per_batch(self) -> int:
        """How many images of a batch are drawn from the labelled ones, besides the pass over all.

        They are the last of the batch. None unless some images have a label, and others not.
        """
        config = self.config
        if "labelled_share" not in self.settings or config.labels_kind != "some":
            return 0
        return min(round(config.labelled_share * config.batch_size), config.batch_size - 1)

    @property
    def decoder_epochs(self) -> int:
        """How many epochs at the end are the decoder's alone."""
        return getattr(self.config, "decoder_epochs", 0)

    @property
    def labelled(self) -> bool:
        """Whether samples can be asked for by label."""
        return self.labels_are_pieces or self.decodes_labels

    def exports(self) -> Exports:
        """What of it can be used elsewhere: {name: (inputs, output, function)}.

        ``inputs``: {name: its columns}; ``function(F, *inputs)`` gives the output of symbols, where
        F is ``mxnet.sym``.
        """
        encoder, decoder = self.networks["encoder"], self.networks["decoder"]
        return {
            "encoder": ({"images": self.n_pixels}, "codes", lambda F, images: encoder(images)),
            "decoder": (
                {"codes": self.code_dim},
                "images",
                lambda F, codes: self.output(F, decoder(codes)),
            ),
        }

    def about(self) -> dict[str, Any]:
        """What someone needs to know of it who has only exported files: a dictionary for JSON."""
        return {"mode": self.name}


def find(name: str) -> type[Mode]:
    """The class of a mode. Raises ConfigError for a name that none has."""
    if name not in MODES:
        raise ConfigError(
            "mode", name, f"expected one of {', '.join(MODES)}; your own comes with --plugin FILE"
        )
    return MODES[name]
