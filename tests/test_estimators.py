"""The estimators: scikit-learn's own checks, and what its users do with them."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs, make_swiss_roll
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import aae_mx
from aae_mx import AAEClassifier, AAEClusterer, AdversarialAutoencoder
from aae_mx.errors import StopTraining

SMALL = {"hidden": (20,), "discriminator_hidden": (20,), "batch_size": 20}
QUICK = {**SMALL, "epochs": 2}


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(90, centers=3, n_features=4, random_state=0)


CHECKED = {"hidden": (32,), "discriminator_hidden": (16,), "batch_size": 50, "epochs": 15}
# As few steps as scikit-learn's checks need: they ask that classes and clusters are found.
FAST = {**CHECKED, "generator_rate": 0.005}


@pytest.mark.parametrize(
    "estimator, expected",
    [
        (AdversarialAutoencoder(**QUICK), {}),
        pytest.param(
            AAEClassifier(**FAST, classification_rate=0.01),
            # Scikit-learn leaves its own semi-supervised classifiers out of it, by their names.
            {"check_classifiers_classes": "-1 is no class, but says that there is none"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            AAEClusterer(**{**FAST, "epochs": 30}, information_weight=1.0, clusters=3),
            {},
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_scikit_learns_checks(estimator, expected):
    """All of them; those that need what is not there are skipped."""
    results = check_estimator(
        estimator, expected_failed_checks=expected, on_fail=None, on_skip=None
    )
    failed = {
        result["check_name"]: result["exception"]
        for result in results
        if result["status"] not in ("passed", "skipped", "xfail")
    }
    assert not failed and len(results) > 40


def test_codes_and_back(blobs):
    X, _ = blobs
    model = AdversarialAutoencoder(**{**SMALL, "epochs": 60}).fit(X)
    Z = model.transform(X)
    assert Z.shape == (90, 2) and Z.dtype == np.float32
    back = model.inverse_transform(Z)
    assert back.shape == X.shape and np.allclose(back, model.reconstruct(X))
    # Two dimensions hold most of three blobs in four.
    assert ((X - back) ** 2).mean() < 0.5 * X.var(axis=0).mean()
    assert model.score(X) > -0.5
    samples = model.sample(50)
    assert samples.shape == (50, 4) and (np.abs(samples - X.mean(0)) < 6 * X.std(0)).all()
    assert len(model.history_["epoch"]) == 60 and model.n_features_in_ == 4
    assert np.array_equal(model.transform(X[:7]), Z[:7])
    assert list(model.get_feature_names_out()) == [
        "adversarialautoencoder0",
        "adversarialautoencoder1",
    ]


def test_classes_of_any_type(blobs):
    X, y = blobs
    names = np.array(["a", "b", "c"])[y]
    model = AAEClassifier(**{**SMALL, "epochs": 30}).fit(X, names)
    assert list(model.classes_) == ["a", "b", "c"] and model.score(X, names) > 0.95
    some = names.astype(object)
    some[15:] = -1
    model = AAEClassifier(**{**SMALL, "epochs": 30}).fit(X, some)
    assert model.model_.config.labels == 15 and list(model.classes_) == ["a", "b", "c"]
    assert model.score(X, names) > 0.9
    P = model.predict_proba(X)
    assert P.shape == (90, 3) and np.allclose(P.sum(axis=1), 1, atol=1e-5)
    rows = model.sample(30, labels="b")
    assert rows.shape == (30, 4) and not np.allclose(rows, model.sample(30, labels="a"))
    with pytest.raises(ValueError, match="label 'd': expected one of a, b, c"):
        model.sample(3, labels="d")
    with pytest.raises(ValueError, match="all labels are -1"):
        AAEClassifier(**QUICK).fit(X, np.full(90, -1))
    with pytest.raises(ValueError, match="requires y"):
        AAEClassifier(**QUICK).fit(X, None)


def test_labels_in_the_code(blobs):
    """y is used only if labels say so, as pipelines always give it."""
    X, y = blobs
    assert AdversarialAutoencoder(**QUICK).fit(X, y).model_.config.labels == "none"
    how = {**QUICK, "prior": "gaussian_mixture"}
    model = AdversarialAutoencoder(**how, labels="all").fit(X, y)
    assert model.model_.config.labels == "all" and list(model.classes_) == [0, 1, 2]
    model = AdversarialAutoencoder(**how, labels="all").fit(X, np.where(np.arange(90) < 9, y, -1))
    assert model.model_.config.labels == 9
    with pytest.raises(ValueError, match="labels='all': y is needed"):
        AdversarialAutoencoder(**how, labels="all").fit(X)
    style = AdversarialAutoencoder(mode="style", style_dim=2, **QUICK).fit(X, y)
    assert style.inverse_transform(style.transform(X), y).shape == X.shape
    assert style.score(X, y) < 0


def test_clusters(blobs):
    X, y = blobs
    model = AAEClusterer(**{**SMALL, "epochs": 60}, clusters=3)
    labels = model.fit_predict(X)
    assert np.array_equal(labels, model.labels_) and np.array_equal(labels, model.predict(X))
    # Three blobs are found.
    from sklearn.metrics import adjusted_rand_score

    assert adjusted_rand_score(y, labels) > 0.7


def test_parameters():
    model = AAEClassifier(epochs=3, random_state=4)
    parameters = model.get_params()
    assert parameters["epochs"] == 3 and parameters["kind_weight"] is None
    assert not {"seed", "dataset", "images", "data", "mode"} & set(parameters)
    assert clone(model).set_params(epochs=7).epochs == 7
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(epoch=7)
    with pytest.raises(TypeError, match="AAEClassifier has no parameter 'epoch'"):
        AAEClassifier(epoch=3)
    with pytest.raises(ValueError, match="epochs=0: expected at least 1"):
        AdversarialAutoencoder(epochs=0).fit(np.eye(5))
    # A setting of another mode.
    with pytest.raises(ValueError, match="it is no setting of the mode label_prior"):
        AdversarialAutoencoder(**QUICK, clusters=3).fit(np.eye(5))


def test_random_state(blobs):
    X, _ = blobs
    a, b, c = (
        AdversarialAutoencoder(**QUICK, random_state=state).fit(X).transform(X)
        for state in (3, 3, np.random.RandomState(3))
    )
    assert np.array_equal(a, b) and not np.array_equal(a, c)


@pytest.mark.slow
def test_in_a_pipeline(blobs):
    X, y = blobs
    pipeline = make_pipeline(StandardScaler(), AAEClassifier(**{**SMALL, "epochs": 40}))
    assert cross_val_score(pipeline, X, y, cv=2).min() > 0.8
    search = GridSearchCV(
        AdversarialAutoencoder(**QUICK), {"code_dim": [2, 4]}, n_jobs=2, cv=2, error_score="raise"
    )
    search.fit(X)
    assert search.best_params_["code_dim"] in (2, 4)


def test_frames(blobs):
    pandas = pytest.importorskip("pandas")
    X, _ = blobs
    frame = pandas.DataFrame(X, columns=list("abcd"), index=range(5, 95))
    model = AdversarialAutoencoder(**QUICK).set_output(transform="pandas")
    Z = model.fit_transform(frame)
    assert list(Z.columns) == ["adversarialautoencoder0", "adversarialautoencoder1"]
    assert list(Z.index[:2]) == [5, 6] and list(model.feature_names_in_) == list("abcd")
    assert model.model_.feature_names == tuple("abcd")


def test_pickle(blobs):
    X, _ = blobs
    model = AdversarialAutoencoder(**QUICK).fit(X)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).transform(X), model.transform(X))


def test_warm_start(blobs):
    X, _ = blobs
    model = AdversarialAutoencoder(**QUICK, warm_start=True).fit(X)
    first = model.score(X)
    for _ in range(4):
        model.fit(X)
    cold = AdversarialAutoencoder(**QUICK, warm_start=False).fit(X).fit(X)
    assert model.score(X) > first and np.isclose(cold.score(X), first)


def test_out_and_callback(blobs, tmp_path):
    X, _ = blobs
    seen = []

    def watch(epoch, metrics):
        seen.append((epoch, metrics["reconstruction_loss"]))
        if epoch == 2:
            raise StopTraining

    how = {**SMALL, "epochs": 5, "out": tmp_path / "run", "callback": watch}
    model = AdversarialAutoencoder(**how).fit(X)
    assert [epoch for epoch, _ in seen] == [1, 2] and len(model.history_["epoch"]) == 2
    again = aae_mx.load(tmp_path / "run")
    assert np.array_equal(again.encode(X), model.model_.encode(X))


@pytest.mark.slow
def test_digits():
    """The built-in digits, 8 × 8: rows of 64 numbers, of which some have a label."""
    X, y = load_digits(return_X_y=True)
    train, test = np.arange(len(X)) % 3 > 0, np.arange(len(X)) % 3 == 0
    some = np.where(np.arange(len(X)) < 300, y, -1)
    model = AAEClassifier(epochs=40).fit(X[train], some[train])
    assert model.score(X[test], y[test]) > 0.9


@pytest.mark.slow
def test_swiss_roll():
    """Points of a rolled up plane, three numbers each, are two numbers."""
    X, _ = make_swiss_roll(1500, random_state=0)
    model = AdversarialAutoencoder(epochs=60).fit(X[:1000])
    assert model.score(X[1000:]) > -0.15
