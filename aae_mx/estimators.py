"""Adversarial autoencoders as estimators of scikit-learn: in pipelines, searches and notebooks.

Three cover the modes: AdversarialAutoencoder, a transformer, of any mode; AAEClassifier and
AAEClusterer, which have scikit-learn's roles of a classifier and of a clusterer, too.
"""

from __future__ import annotations

import dataclasses
import inspect
import tempfile
from pathlib import Path
from typing import Any, Optional, TypeVar

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from aae_mx.config import DEFAULT_MODE, PLACES, Config, all_settings, mode_settings
from aae_mx.data.arrays import UNKNOWN, is_unknown
from aae_mx.hints import ArrayLike

# Settings that an estimator has from its data, or as random_state; and what it has besides.
FROM_DATA = (*PLACES, "dataset", "transpose", "image_size", "channels", "limit", "seed")
FROM_DATA += ("x_key", "y_key", "x_test_key", "y_test_key")
OWN = {"random_state": 0, "out": None, "warm_start": False, "callback": None, "verbose": False}
# What X may be: bytes stay bytes, and count as pixels.
_READ = {"dtype": "numeric", "ensure_2d": True}
# Rows at once in a prediction: always as many, so that it does not depend on the others.
ROWS = 256

Estimator = TypeVar("Estimator", bound="AdversarialAutoencoder")


def _parameters(mode):
    """The names of the parameters of an estimator of a mode, or of all modes."""
    settings = all_settings() if mode is None else mode_settings(mode)
    left_out = FROM_DATA if mode is None else (*FROM_DATA, "mode")
    return [name for name in settings if name not in left_out]


def with_parameters(cls: type[Estimator]) -> type[Estimator]:
    """Give an estimator a signature, where scikit-learn looks for the names of parameters."""
    names = [*_parameters(cls._mode), *OWN]

    def __init__(self, **parameters):
        for name in parameters:
            if name not in names:
                raise TypeError(f"{cls.__name__} has no parameter {name!r}")
        for name in names:
            setattr(self, name, parameters.get(name, OWN.get(name)))

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, kind, default=OWN.get(name)) for name in names]
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = inspect.Signature([this, *parameters])  # type: ignore[attr-defined]
    cls.__init__ = __init__  # type: ignore[method-assign]
    return cls


def _seed(random_state):
    """The whole number that scikit-learn's random_state stands for."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))


def _classes(y, known):
    """The classes of labels y, sorted, and the position of each label in them, -1 for none."""
    values = y[known]
    if not len(values):
        raise ValueError(f"y: all labels are {UNKNOWN}, so none is known; leave y out")
    if values.dtype == object and not all(isinstance(value, str) for value in values):
        # Such as numbers beside None; numbers alone become an array of numbers.
        values = np.array(values.tolist())
    check_classification_targets(values)
    classes, found = np.unique(values, return_inverse=True)
    positions = np.full(len(y), UNKNOWN, np.int64)
    positions[known] = found
    return classes, positions


@with_parameters
class AdversarialAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """An adversarial autoencoder that takes rows X to codes and back.

    Parameters are the settings of ``python -m aae_mx.train --mode MODE --help``, by their names
    with underscores, as ``mode``, ``prior``, ``code_dim``, ``epochs``; None stands for what the
    recipe says. ``labels`` says how y is used: "all" (the rows with a label), or a number N of
    labels; None leaves y aside, but in the mode style, which needs it. ``shape``: (28, 28) for rows
    that are images. Besides:

    random_state : int, RandomState or None; decides weights, order and prior.
    out : directory of the run that is left, or None for none.
    warm_start : whether the next fit starts from the weights of the last one.
    callback : function of epoch and metrics, see ``aae_mx.fit``.
    verbose : whether the progress is shown.

    After ``fit``: ``model_`` (aae_mx.model.AAE), ``history_`` ({column: array of an entry per
    epoch}), ``n_features_in_``, ``feature_names_in_``; with labels ``classes_``, in whose order
    kinds are. Rows are scaled inside, see ``scale``; y has -1 where the label is not known.
    """

    _mode: Optional[str] = None

    def fit(self, X: ArrayLike, y: Optional[ArrayLike] = None) -> AdversarialAutoencoder:
        """Train on rows X (N, features), with labels y (N,) where given; returns self.

        Raises ValueError for what cannot be used, in one line.
        """
        X = validate_data(self, X, **_READ, accept_sparse=False, ensure_min_samples=2)
        labels = getattr(self, "labels", None)
        uses = labels not in (None, "none") or self._find_mode().needs_labels
        if uses and y is None:
            raise ValueError(f"labels={labels!r}: y is needed, but the target y is None")
        return self._fit(X, y if uses else None)

    def _find_mode(self):
        from aae_mx import modes

        return modes.find(self._mode or getattr(self, "mode", None) or DEFAULT_MODE)

    def _fit(self, X, y):
        from aae_mx.data import Dataset
        from aae_mx.runs.history import read_history
        from aae_mx.training.loop import fit

        known = positions = None
        if y is not None:
            y = column_or_1d(y, warn=True)
            check_consistent_length(X, y)
            known = ~is_unknown(y)
            self.classes_, positions = _classes(y, known)
        names = getattr(self, "feature_names_in_", None)
        dataset = Dataset.from_arrays(X, positions, shape=self.shape, feature_names=names)
        if y is not None:
            dataset = dataclasses.replace(dataset, classes=tuple(map(str, self.classes_)))
        config = self._config(known)
        before = getattr(self, "model_", None) if self.warm_start else None
        with tempfile.TemporaryDirectory() as aside:
            model = fit(
                config,
                Path(aside, "run") if self.out is None else self.out,
                quiet=not self.verbose,
                checkpoint_every=1 if self.out is not None else 10**6,
                keep=1 if self.out is None else 2,
                dataset=dataset,
                start=before,
                callback=self.callback,
            )
            self.history_ = {n: np.array(v) for n, v in read_history(model.run).items()}
            if self.out is None:
                model.run = None
        self.model_ = model
        self._n_features_out = model.code_dim
        return self

    def _config(self, known):
        """The Config of the parameters; ``known``: which rows have a label, or None."""
        # Those of today's plug-ins may be more.
        given = self.get_params(deep=False)
        given = {n: value for n, value in given.items() if value is not None and n not in OWN}
        given["mode"] = self._find_mode().name
        if known is not None and given.get("labels") in (None, "all"):
            given["labels"] = "all" if known.all() else int(known.sum())
        return Config(**given, seed=_seed(self.random_state))

    def _rows(self, X):
        """X as rows for the model, checked to be as in ``fit``."""
        check_is_fitted(self)
        return validate_data(self, X, **_READ, reset=False)

    def _in_blocks(self, function, rows):
        """The outputs of a model for rows, always so many at once."""
        blocks = [rows[i : i + ROWS] for i in range(0, len(rows), ROWS)]
        whole = [np.concatenate([b, np.repeat(b[-1:], ROWS - len(b), axis=0)]) for b in blocks]
        return np.concatenate([function(w)[: len(b)] for w, b in zip(whole, blocks)])

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Codes of rows X, float32 (N, code_dim)."""
        rows = self._rows(X)
        return self._in_blocks(self.model_.encode, rows)

    def inverse_transform(self, Z: ArrayLike, labels: Optional[ArrayLike] = None) -> np.ndarray:
        """Rows of codes Z (N, code_dim), (N, features) in the units of the data.

        ``labels``: one or N, for modes whose decoder takes a label beside the code.
        """
        check_is_fitted(self)
        codes = check_array(Z, dtype=np.float32)
        rows = self.model_.decode(codes, self._positions(labels))
        return rows.reshape(len(codes), -1)

    def reconstruct(self, X: ArrayLike, labels: Optional[ArrayLike] = None) -> np.ndarray:
        """Rows X, encoded and decoded: (N, features). ``labels`` as ``inverse_transform``."""
        rows = self._rows(X)
        again = self.model_.reconstruct(rows, self._positions(labels, len(rows)))
        return again.reshape(len(rows), -1)

    def sample(
        self, n: int, labels: Optional[ArrayLike] = None, random_state: Any = 0
    ) -> np.ndarray:
        """``n`` new rows, (n, features): samples of the prior, decoded.

        ``labels``: of ``classes_``, one or n; for modes without kinds, none.
        """
        check_is_fitted(self)
        rows = self.model_.sample(n, self._positions(labels), _seed(random_state))
        return rows.reshape(n, -1)

    def score(self, X: ArrayLike, y: Optional[ArrayLike] = None) -> float:
        """Minus the mean squared error of reconstructed rows, a value's, as scaled; 0 is perfect.

        ``y`` is needed only where the decoder has to be told.
        """
        rows = self._rows(X)
        labels = self._positions(y, len(rows)) if self.model_.mode.needs_labels else None
        return -float(np.mean(self.model_.error_norms(rows, labels) ** 2) / rows.shape[1])

    def _positions(self, labels, n=None):
        """Labels as the model has them: positions of their kinds."""
        if labels is None:
            return None
        kinds = getattr(self, "classes_", np.arange(len(self.model_.mode.kinds)))
        labels = np.asarray(labels)
        where = {kind: i for i, kind in enumerate(kinds.tolist())}
        try:
            positions = [where[label] for label in labels.reshape(-1).tolist()]
        except KeyError as error:
            raise ValueError(
                f"label {error.args[0]!r}: expected one of {', '.join(map(str, kinds[:20]))}"
            ) from None
        positions = np.array(positions).reshape(labels.shape)
        return positions if n is None else np.broadcast_to(positions, (n,))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Codes are float32, whatever X is.
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


@with_parameters
class AAEClassifier(ClassifierMixin, AdversarialAutoencoder):
    """The mode ``classification`` (paper, section 5) as a classifier; few labels suffice.

    y is the class of each row, and -1 where it is not known. ``transform`` gives the styles.
    Parameters and attributes as of AdversarialAutoencoder.
    """

    _mode = "classification"

    def fit(self, X: ArrayLike, y: ArrayLike) -> AAEClassifier:  # type: ignore[override]
        """Train on rows X (N, features) and labels y (N,), -1 where unknown; returns self."""
        X = validate_data(self, X, **_READ, ensure_min_samples=2)
        if y is None:
            raise ValueError(
                "AAEClassifier requires y to be passed, but the target y is None; without labels "
                "take AAEClusterer"
            )
        return self._fit(X, y)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities of ``classes_``, float32 (N, classes)."""
        rows = self._rows(X)
        return self._in_blocks(self.model_.classify, rows)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The class of each row, (N,)."""
        kinds = self.predict_proba(X).argmax(axis=1)
        return self.classes_[kinds]

    def score(  # type: ignore[override]
        self, X: ArrayLike, y: ArrayLike, sample_weight: Optional[ArrayLike] = None
    ) -> float:
        """The share of rows whose class is told right."""
        return ClassifierMixin.score(self, X, y, sample_weight)


@with_parameters
class AAEClusterer(ClusterMixin, AdversarialAutoencoder):
    """The mode ``clustering`` (paper, section 6) as a clusterer.

    ``clusters``: how many. After ``fit``, ``labels_`` has the cluster of each row. ``transform``
    gives the styles. Parameters and attributes as of AdversarialAutoencoder.
    """

    _mode = "clustering"

    def fit(self, X: ArrayLike, y: Optional[ArrayLike] = None) -> AAEClusterer:
        """Find clusters of rows X (N, features); returns self. ``y`` is not used."""
        super().fit(X)
        self.labels_ = self.predict(X)
        return self

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities of the clusters, float32 (N, clusters)."""
        rows = self._rows(X)
        return self._in_blocks(self.model_.classify, rows)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The cluster of each row, int64 (N,)."""
        return self.predict_proba(X).argmax(axis=1)
