"""A trained (or untrained) model: a mode, what it takes to use it, and to read it from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Optional, Sequence

import numpy as np

from aae_mx import data, modes
from aae_mx.backend import context, mx
from aae_mx.config import PLACES, Config
from aae_mx.data import load_dataset, noun, scale
from aae_mx.errors import ConfigError, InputError, option_name
from aae_mx.files import inside
from aae_mx.hints import (
    Block,
    Dataset,
    Labels,
    LabelsLike,
    Mode,
    Parameter,
    PathLike,
    Seed,
    Shape,
    Shapes,
)
from aae_mx.networks.build import initialise, n_weights
from aae_mx.runs import checkpoint, directory
from aae_mx.runs.checkpoint import OPTIMIZERS, Position, checkpoints
from aae_mx.runs.directory import CONFIG, go_on_with, read_description
from aae_mx.settings import IN_MEMORY
from aae_mx.text import printable, say, shortened

# Images per forward pass outside of training, large enough to keep the cores busy: so many, or
# fewer of so many pixels together.
INFERENCE_BATCH, INFERENCE_PIXELS = 1000, 2_000_000


class AAE:
    """A mode with its networks, to encode, decode and sample in batches.

    ``image_shape`` is (height, width), or (height, width, 3) in colour; ``classes`` are the names
    of the labels, none for images without. The networks are
    freshly drawn from the config's seed; ``aae_mx.fit`` and ``aae_mx.load`` return trained
    ones, with their directory as ``run`` and the epochs behind them as ``epoch``.

    What is said of images goes for rows of features, too: then ``image_shape`` is (features,), and
    values are those of the data, which ``scale`` takes to the networks and back;
    ``feature_names`` are theirs, or None.

    A model can be copied and pickled; a copy has weights of its own.
    """

    # A Path, of one that has a directory.
    run: Any = None
    epoch: Optional[int] = None

    def __init__(
        self,
        config: Config,
        image_shape: Shape,
        classes: Sequence[str],
        feature_names: Optional[Sequence[str]] = None,
    ) -> None:
        self.config, self.feature_names = config, feature_names
        self.mode = make_mode(config, image_shape, classes)
        self.image_shape, self.classes = self.mode.image_shape, self.mode.classes
        self.ctx, self.n_pixels = self.mode.ctx, self.mode.n_pixels
        self.networks = self.mode.networks
        # Until it is measured, or read.
        self.scale = scale.untouched(config.scale, self.n_pixels)
        initialise(self.networks, config.seed, config.init_std, self.ctx)

    @property
    def encoder(self) -> Block:
        return self.networks["encoder"]

    @property
    def decoder(self) -> Block:
        return self.networks["decoder"]

    @property
    def code_dim(self) -> int:
        """Dimensions of a code."""
        return self.mode.code_dim

    @property
    def noun(self) -> str:
        """What it is of: "images", or "rows" of features."""
        return noun(self.image_shape)

    def parameters(self) -> dict[str, Parameter]:
        """The parameters of all networks, {"network/name": Gluon's Parameter}."""
        return self.mode.parameters()

    def weights(self) -> dict[str, np.ndarray]:
        """Their values, {"network/name": float32 array}, and what the scale has."""
        arrays = {name: p.data().asnumpy() for name, p in self.parameters().items()}
        return {**arrays, **self.scale.arrays()}

    def set_weights(self, arrays: dict[str, np.ndarray]) -> None:
        """Take values from what ``weights`` gives; more arrays do no harm.

        Raises InputError for a scale that none can be.
        """
        self.scale = scale.of_arrays(self.config.scale, arrays)
        for name, parameter in self.parameters().items():
            parameter.set_data(mx.nd.array(arrays[name], ctx=self.ctx))

    def __getstate__(self):
        # Networks hold pointers into MXNet, which no other process could follow.
        names = ("config", "image_shape", "classes", "feature_names", "run", "epoch")
        return {**{name: getattr(self, name) for name in names}, "weights": self.weights()}

    def __setstate__(self, state):
        self.__init__(*map(state.get, ("config", "image_shape", "classes", "feature_names")))
        self.run, self.epoch = state["run"], state["epoch"]
        self.set_weights(state["weights"])

    @property
    def title(self) -> str:
        """What it is, in words: "swiss_roll, supervised"."""
        return ", ".join(modes.find(self.config.mode).names(self.config))

    def __repr__(self):
        parts = [
            self.title,
            f"code_dim {self.code_dim}",
            f"image_shape {self.image_shape}",
            f"{len(self.classes)} classes",
            f"{n_weights(self.networks):,} weights",
        ]
        if self.epoch is not None:
            parts.append(f"epoch {self.epoch}")
        if self.run is not None:
            parts.append(f"run {self.run}")
        return f"<AAE: {', '.join(parts)}>"

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Codes z, float32 of shape (N, code_dim).

        ``images``: uint8 in 0–255 or floats in 0–1, of shape (N, *image_shape) or (N, pixels); of
        a scale that was measured, numbers that are finite. Raises InputError for other shapes,
        types and values.
        """
        return self._in_batches(self.mode.encode, self._checked(images), self.scale.apply)

    def classify(self, images: np.ndarray) -> np.ndarray:
        """Probabilities of the kinds, float32 of shape (N, kinds), of modes that classify.

        Kinds are the classes, or of a mode that finds clusters these; ``mode.kinds`` has their
        names. ``images`` as in ``encode``. Raises InputError for other modes.
        """
        if not self.mode.classifies:
            raise InputError(f"the mode {self.config.mode} does not classify images")
        return self._in_batches(self.mode.classify, self._checked(images), self.scale.apply)

    def decode(self, codes: np.ndarray, labels: LabelsLike = None) -> np.ndarray:
        """Images, float32 in 0–1 of shape (N, *image_shape), from codes (N, code_dim).

        Of a scale that was measured, values as those of the data, float64.
        ``labels``: for modes whose decoder takes a label beside the code (``mode.decodes_labels``),
        positions in ``mode.kinds``, one or N; or weights of the kinds, (N, kinds). Raises
        InputError if the codes have another shape or are not finite, and for labels that are
        missing, not wanted or unknown.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.code_dim:
            raise InputError(f"codes of shape {codes.shape}: expected (N, {self.code_dim})")
        codes = codes.astype(np.float32)
        if not np.isfinite(codes).all():
            raise InputError("codes: expected finite numbers")
        decode = self.mode.decode
        if self.mode.decodes_labels:
            kinds = self._kinds(labels, len(codes))
            codes, n = np.concatenate([codes, kinds], axis=1), self.code_dim

            def decode(both):
                return self.mode.decode(both[:, :n], both[:, n:])
        elif labels is not None:
            raise InputError(f"labels {labels}: this run's decoder takes codes alone")
        return self.scale.undo(self._in_batches(decode, codes)).reshape(-1, *self.image_shape)

    def _kinds(self, labels, n):
        """What stands beside ``n`` codes, float32 (n, kinds)."""
        n_labels = len(self.mode.kinds)
        if labels is None:
            raise InputError("this run's decoder takes a label beside each code; give labels")
        labels = np.asarray(labels)
        if labels.ndim == 2 and labels.shape == (n, n_labels):
            return labels.astype(np.float32)
        labels = np.broadcast_to(labels, (n,)) if labels.ndim == 0 else labels
        if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(
                f"labels of shape {labels.shape} and type {labels.dtype}: expected integers ({n},) "
                f"or weights ({n}, {n_labels})"
            )
        if n and not 0 <= labels.min() <= labels.max() < n_labels:
            bad = labels[(labels < 0) | (labels >= n_labels)][0]
            raise InputError(f"label {bad}: expected 0 to {n_labels - 1}")
        return np.eye(n_labels, dtype=np.float32)[labels]

    def sample_prior(
        self, n: int, labels: LabelsLike = None, seed: Seed = None
    ) -> tuple[np.ndarray, Optional[np.ndarray]]:
        """``n`` codes of the prior and their labels (None where it has no pieces).

        ``labels``: one label or n of them, positions in ``mode.kinds``; none for a label drawn
        at random. ``seed``: the same seed gives the same codes. Raises InputError for
        labels that the run does not know.
        """
        if labels is not None:
            if not self.mode.labelled:
                raise InputError(
                    f"labels {labels}: this run was trained without labels, so no piece of its "
                    "prior stands for a label; leave them out, or train with --labels"
                )
            labels = np.asarray(labels)
            labels = np.broadcast_to(labels, (n,)) if labels.ndim == 0 else labels
        try:
            return self.mode.sample_prior(n, np.random.default_rng(seed), labels)
        except ValueError as error:
            raise InputError(str(error)) from error

    def decode_samples(self, codes: np.ndarray, labels: Optional[np.ndarray]) -> np.ndarray:
        """Images of what ``sample_prior`` gave."""
        return self.decode(codes, labels if self.mode.decodes_labels else None)

    def sample(self, n: int, labels: LabelsLike = None, seed: Seed = None) -> np.ndarray:
        """``n`` new images: prior samples, decoded. Arguments as in ``sample_prior``.

        Returns (n, *image_shape), with values as of ``decode``.
        """
        return self.decode_samples(*self.sample_prior(n, labels, seed))

    def represent(self, images: np.ndarray, labels: LabelsLike = None) -> tuple[np.ndarray, ...]:
        """All that the decoder takes of images, as arguments of ``decode``: codes, and kinds.

        ``labels``: those of the images, as in ``decode``, for modes that have to be told
        (``mode.needs_labels``); others find the kinds themselves, or need none.
        """
        images = self._checked(images)
        if not self.mode.decodes_labels:
            return (self.encode(images),)
        if self.mode.needs_labels:
            return self.encode(images), self._kinds(labels, len(images))

        def both(pixels):
            return mx.nd.concat(*self.mode.represent(pixels), dim=1)

        rows = self._in_batches(both, images, self.scale.apply)
        return rows[:, : self.code_dim], rows[:, self.code_dim :]

    def reconstruct(self, images: np.ndarray, labels: LabelsLike = None) -> np.ndarray:
        """Images encoded and decoded, (N, *image_shape), with values as of ``decode``.

        ``labels`` as in ``represent``.
        """
        return self.decode(*self.represent(images, labels))

    def error_norms(self, images: np.ndarray, labels: Labels = None) -> np.ndarray:
        """The L2 norm of x̂ − x of each image, float32 of shape (N,); ``images`` as in ``encode``.

        Both as the networks see them, after scaling.
        It works in parts, so that the images may be more than fit into memory. ``labels`` as in
        ``represent``, (N,).
        """
        images, at = self._checked(images), 0
        norms = []
        for part in data.parts(images, self._batch_size):
            of_part = None if labels is None else labels[at : at + len(part)]
            at += len(part)
            errors = self.scale.apply(self.reconstruct(part, of_part)) - self.scale.apply(part)
            norms.append(np.linalg.norm(errors, axis=1))
            data.release_pages(images)
        return np.concatenate(norms) if norms else np.zeros(0, np.float32)

    def _checked(self, images):
        """Images as an array that the scale can take."""
        if hasattr(images, "toarray"):
            raise InputError("a sparse matrix: expected dense rows, as of its toarray()")
        images = np.asanyarray(images)
        if images.shape[1:] not in (self.image_shape, (self.n_pixels,)):
            raise InputError(
                f"images of shape {images.shape}: expected (N, {self.n_pixels}) or "
                f"(N, {', '.join(map(str, self.image_shape))})"
            )
        if self.scale.kind != scale.PIXELS:
            if images.dtype.kind not in "iufb":
                raise InputError(f"values of type {images.dtype}: expected real numbers")
            if images.dtype.kind == "f" and not np.isfinite(images).all():
                raise InputError("values that are not finite: expected finite numbers")
            return images
        if images.dtype == np.uint8:
            return images
        if not np.issubdtype(images.dtype, np.floating):
            raise InputError(f"images of type {images.dtype}: expected uint8 or floats in 0-1")
        if images.size:
            low, high = np.float32(images.min()), np.float32(images.max())
            if not (low >= 0 and high <= 1):
                raise InputError(
                    f"images with pixels from {low} to {high}: expected uint8, or floats in 0-1"
                )
        return images

    @property
    def _batch_size(self):
        return max(1, min(INFERENCE_BATCH, INFERENCE_PIXELS // self.n_pixels))

    def _in_batches(self, function, rows, ready=np.asarray):
        """The outputs for all rows, each batch of which ``ready`` makes the input."""
        queued, outputs = [], []
        for part in data.parts(rows, self._batch_size):
            queued.append(function(mx.nd.array(ready(part), ctx=self.ctx)))
            data.release_pages(rows)
            if len(queued) == 3:
                # Not all at once, as inputs and outputs would take too much memory.
                outputs.append(queued.pop(0).asnumpy())
        outputs += [output.asnumpy() for output in queued]
        if not outputs:
            # Nothing in, nothing out, but with the right number of columns.
            columns = int(np.prod(rows.shape[1:]))
            return function(mx.nd.zeros((1, columns), ctx=self.ctx)).asnumpy()[:0]
        return np.concatenate(outputs)


def make_mode(config: Config, image_shape: Shape, classes: Sequence[str]) -> Mode:
    """The Mode of a config; its networks take no memory yet."""
    return modes.find(config.mode)(config, image_shape, classes, context(config.ctx))


def checkpoint_shapes(mode: Mode) -> Shapes:
    """The weights and optimizer states in a checkpoint of a mode, {name: (dtype, shape)}."""
    from aae_mx.training.optimizers import state_shapes

    weights = {name: ("<f4", p.shape) for name, p in mode.parameters().items()}
    return {**weights, **scale.shapes(mode.config.scale, mode.n_pixels), **state_shapes(mode)}


def check_room(path: Optional[PathLike], modes_and_keep: Sequence[tuple[Mode, int]]) -> None:
    """Raise InputError unless ``path`` has room for the checkpoints of trainings.

    ``modes_and_keep``: of each its Mode and how many checkpoints stay at most.
    """
    sizes = []
    for mode, keep in modes_and_keep:
        size = sum(checkpoint.n_bytes(*of) for of in checkpoint_shapes(mode).values())
        sizes.append((size, min(keep, mode.config.epochs)))
    first = modes_and_keep[0][0].config.name if modes_and_keep else ""
    directory.check_room(path or directory.default_path(first), sizes)


def describe(model: AAE, fingerprint: str) -> dict[str, Any]:
    """What config.json has of a model; ``fingerprint``: of its data."""
    config, names = model.config, model.feature_names
    return {
        **({"feature_names": names} if names else {}),
        "config": config.to_dict(),
        "given": sorted(config.given),
        "recipe": config.recipe_entry.title,
        "image_shape": model.image_shape,
        "classes": model.classes,
        "data": fingerprint,
    }


def read_config(path: PathLike) -> Config:
    """The Config of the run in the directory ``path``. Raises as ``load`` does."""
    return _config_of(path, read_description(path))


def _config_of(path, description):
    try:
        config = Config.from_dict(description["config"], description["given"])
        if not description["classes"] and config.labels_kind != "none":
            raise InputError(
                f"{Path(path) / CONFIG}: it was trained with labels, but names no classes"
            )
        return config
    except ConfigError as error:
        raise InputError(f"{Path(path) / CONFIG}: {error}") from error


class Found(NamedTuple):
    """What ``read_run`` reads."""

    model: AAE  # None where only the description was asked for
    arrays: dict[str, np.ndarray]
    position: Optional[Position]
    fingerprint: str

    @property
    def slim(self) -> bool:
        return not any(name.startswith(OPTIMIZERS) for name in self.arrays)


def load(path: PathLike, ctx: str = "cpu", skip_damaged: bool = False) -> AAE:
    """The trained model of the run in the directory ``path``, an ``aae_mx.model.AAE``.

    ``ctx``: where to compute, whatever the run was trained on. ``skip_damaged``: where the last
    checkpoint is damaged, take the one before it. Raises InputError, naming the
    file, for a directory that holds no run and for files that are damaged or of another format.
    """
    found = read_run(path, {"ctx": ctx}, skip_damaged)
    if found.position is None:
        raise InputError(f"{path}: the run has no checkpoint; its first epoch did not finish")
    return found.model


def read_run(
    path: PathLike,
    changes: dict[str, Any],
    skip_damaged: bool = False,
    only_described: bool = False,
) -> Found:
    """What the run in the directory ``path`` holds, as Found.

    Without a checkpoint the arrays are {} and the Position is None. ``changes`` are settings to
    change in its Config. ``only_described``: without model and arrays. Raises as ``load`` does.
    """
    path = Path(path)
    description = read_description(path)
    config, changes = _config_of(path, description), dict(changes)
    places = {name: changes.pop(name, None) for name in PLACES}
    # Refuses a place that the run cannot have.
    config = config.moved(**places).values_changed(**changes)
    fingerprint = description["data"]
    if only_described:
        return Found(None, {}, None, fingerprint)  # type: ignore[arg-type]
    shape, classes = description["image_shape"], description["classes"]
    try:
        expected = checkpoint_shapes(make_mode(config, shape, classes))
    except ConfigError as error:
        raise InputError(f"{path / CONFIG}: {error}") from error
    weights = sum(
        checkpoint.n_bytes(*of) for n, of in expected.items() if not n.startswith(OPTIMIZERS)
    )
    files = checkpoints(path)
    short = {}
    for file in files:
        size = _size(path, file)
        if size < weights:
            short[file] = (
                f"{file}: it has {size:,} bytes, but the networks of {CONFIG} need {weights:,}"
            )
    # Before networks are made, of the size that a damaged config.json may ask for.
    if files and len(short) == len(files):
        raise InputError(short[files[-1]])
    model = AAE(config, shape, classes, description.get("feature_names"))
    model.run = path
    if not files:
        return Found(model, {}, None, fingerprint)

    def read(file):
        if file in short:
            raise InputError(short[file])
        return checkpoint.read(file, expected, model.mode.metrics, description["format"])

    try:
        arrays, position = read(files[-1])
    except InputError as error:
        whole = _last_whole(files[:-1], read)
        if whole is None:
            raise
        if not skip_damaged:
            raise InputError(
                f"{error}; to go back to {whole[0].name}, which is whole: "
                f"{go_on_with(path, '--skip-damaged')}"
            ) from error
        arrays, position = whole[1]
    try:
        model.set_weights(arrays)
    except InputError as error:
        raise InputError(f"{files[-1]}: {error}") from error
    model.epoch = position.epoch
    return Found(model, arrays, position, fingerprint)


def _size(path, file):
    try:
        return inside(path, file).stat().st_size
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def _last_whole(files, read):
    """The last of the checkpoints that can be read, and what is in it; or None."""
    for file in reversed(files):
        try:
            return file, read(file)
        except InputError:
            pass
    return None


def load_data(model: AAE, quiet: bool = False, **places: Optional[PathLike]) -> Dataset:
    """The Dataset that a trained model was trained on, with labels as the model has them.

    ``places``: where it is now, if it has been moved, by the name of a setting: ``images``,
    ``data_dir`` or ``data``. Raises ConfigError if that is of another kind than the run has, and
    InputError as ``load_dataset`` does, and if the data are not, or no longer, those of the run.
    """
    config = model.config.moved(**places)
    if model.run is None:
        return load_dataset(config, quiet).with_classes(model.classes)
    description = read_description(model.run)
    before, now = _config_of(model.run, description).place, config.place
    option = option_name(config.place_name or "data_dir")
    if now is not None and not data.holds_something(now) and now == before:
        raise InputError(
            f"{model.run}: the data are no longer in {now}; name the place where they are by "
            f"{option} {'FILE' if config.place_name == 'data' else 'DIR'}"
        )
    if not quiet and now == before:
        _say_what_is_read(model.run, config)
    # What is to be said of IDX files was said when it was trained.
    dataset = load_dataset(config, quiet or config.images is None).with_classes(model.classes)
    if dataset.classes != model.classes:
        raise InputError(_other_classes(model, dataset))
    if dataset.fingerprint() == description["data"]:
        return dataset
    trained_on = "those that it was trained on"
    if now != before:
        then = f", then in {before}" if before else ""
        raise InputError(f"{model.run}: the data in {now} are not {trained_on}{then}")
    changed = f": dataset {config.dataset}"
    if now is not None:
        changed = (
            f": something in {now} was added, removed or changed; undo that, or name an unchanged "
            f"copy by {option} {'FILE' if config.place_name == 'data' else 'DIR'}"
        )
    raise InputError(f"{model.run}: the data are no longer {trained_on}{changed}")


def _say_what_is_read(run, config):
    """A run may be a stranger's: what it names is said before it is read, or asked for."""
    what = config.place
    if what is None and config.dataset not in ("mnist", IN_MEMORY):
        what = f"the dataset {config.dataset} of OpenML, from its cache or the network"
    if what is not None:
        say(f"{run}: reading {printable(what)}, which the run names", err=True)


def _other_classes(model, dataset):
    there, told = (
        printable(shortened(", ".join(c), 200)) for c in (dataset.classes, model.classes)
    )
    return f"{model.run}: its config.json names the classes {told or 'none'}, the data have {there}"


def check_data(model: AAE, dataset: Dataset) -> None:
    """Raise InputError unless ``dataset`` is what a trained model was trained on."""
    description, dataset = read_description(model.run), dataset.with_classes(model.classes)
    if dataset.classes != model.classes:
        raise InputError(_other_classes(model, dataset))
    if dataset.fingerprint() != description["data"]:
        raise InputError(f"{model.run}: the dataset is not the one that it was trained on")
