"""Adversarial Autoencoders (Makhzani et al., arXiv 1511.05644) in MXNet Gluon.

Train, go on, read again, use::

    import aae_mx
    model = aae_mx.fit(aae_mx.Config(prior="swiss_roll", labels="all"))
    model = aae_mx.resume("runs/swiss_roll_supervised", epochs=20)
    model = aae_mx.load("runs/swiss_roll_supervised")
    codes = model.encode(images)

The names that matter:

* Config: all that decides what is trained; its keywords are the options of
  ``python -m aae_mx.train --help``, with underscores.
* fit, resume, load: of a Config, or of the directory of a run, the trained model, an
  ``aae_mx.model.AAE``, which can encode, decode, sample, reconstruct and classify.
* Dataset: images or rows of features to train on, as ``Dataset.from_arrays(X, y)`` makes one.
* AdversarialAutoencoder, AAEClassifier, AAEClusterer: the same as estimators of scikit-learn.
* StopTraining: what a callback of ``fit`` raises to end the training.

They and the modules are imported on first use, so that ``aae_mx.priors`` and
``aae_mx.report.plotting`` can be used without loading MXNet.
"""

import os
import sys

__version__ = "0.2.0"

# Written so that any Python can read this far and say what is wrong.
if sys.version_info < (3, 9):
    raise SystemExit(
        "aae_mx needs Python 3.9 or later; this is Python {}.{}. "
        "'make setup' finds a supported one.".format(*sys.version_info[:2])
    )

# So it stays for a user without an entry in the system's list, if HOME is not set.
if os.path.expanduser("~") == "~":
    from aae_mx.home import give_home

    give_home()

# Ctrl-C while modules are imported ends a command in one line, too; later, commands see to it.
if sys.argv[:1] == ["-m"] or os.path.basename((sys.argv or [""])[0]) == "aae-mx":

    def _in_one_line(kind, error, trace, others=sys.excepthook):
        if issubclass(kind, KeyboardInterrupt):
            sys.stderr and sys.stderr.write("Error: interrupted\n")
        else:
            others(kind, error, trace)

    sys.excepthook = _in_one_line

_HOME = {
    "Config": "config",
    "fit": "training.loop",
    "resume": "training.loop",
    "load": "model",
    "Dataset": "data",
    "AdversarialAutoencoder": "estimators",
    "AAEClassifier": "estimators",
    "AAEClusterer": "estimators",
    "StopTraining": "errors",
}
__all__ = sorted(_HOME)

# Type checkers take any name of this kind for True, and see what is imported lazily.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from aae_mx import data as data
    from aae_mx import errors as errors
    from aae_mx import model as model
    from aae_mx import priors as priors
    from aae_mx import report as report
    from aae_mx.config import Config as Config
    from aae_mx.data import Dataset as Dataset
    from aae_mx.errors import StopTraining as StopTraining
    from aae_mx.estimators import AAEClassifier as AAEClassifier
    from aae_mx.estimators import AAEClusterer as AAEClusterer
    from aae_mx.estimators import AdversarialAutoencoder as AdversarialAutoencoder
    from aae_mx.model import load as load
    from aae_mx.training.loop import fit as fit
    from aae_mx.training.loop import resume as resume


def __getattr__(name):
    from importlib import import_module

    if name in _HOME:
        return getattr(import_module("aae_mx." + _HOME[name]), name)
    if name in _submodules():
        return import_module("aae_mx." + name)
    raise AttributeError("module 'aae_mx' has no attribute {!r}".format(name))


def __dir__():
    return sorted(["__doc__", "__version__", *__all__, *_submodules()])


def _submodules():
    from pkgutil import iter_modules

    return [module.name for module in iter_modules(__path__) if not module.name.startswith("_")]
