"""The only place that imports MXNet, as ``mx``: what it needs is put right first.

MXNet 1.9.1 is the last release. It reads its thread settings when it is loaded, uses names
that NumPy 1.24 and 2.0 removed, and from Python 3.12 on needs setuptools for distutils.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import sys
import threading
import warnings
from typing import Any, Sequence

import numpy as np

from aae_mx.errors import ConfigError, InputError
from aae_mx.hints import Context, MaybeArray, NDArray
from aae_mx.threads import Neighbours, check_environment, usable_cores


def _no_longer_there(*args, **kwargs):
    raise RuntimeError("NumPy no longer has this function; the package numpy-financial has")


# What MXNet asks NumPy for and NumPy 1.20, 1.24 or 2.0 removed. It offers most of it as mxnet.np.
_REMOVED = {
    "bool": bool,
    "int": int,
    "PZERO": 0.0,
    "NZERO": -0.0,
    "PINF": float("inf"),
    "Inf": float("inf"),
    "NINF": -float("inf"),
    "NAN": float("nan"),
    "NaN": float("nan"),
    "product": np.prod,
    "alltrue": np.all,
    "sometrue": np.any,
    "round_": np.round,
    "msort": lambda a: np.sort(a, axis=0),
    "in1d": lambda a, b, *more, **options: np.isin(a, b, *more, **options).reshape(-1),
    "trapz": vars(np).get("trapezoid"),
    **dict.fromkeys(("mirr", "npv", "pmt", "ppmt", "pv", "rate"), _no_longer_there),
}


def _give_removed_names(others=np.__getattr__):
    """Let NumPy answer for the names that it removed, but only to the modules of MXNet.

    All other code of the process meets the NumPy that is installed: what it lacks is an
    AttributeError there, and what it has is unchanged. ``others``: what answers for all else.
    """

    def answer(name):
        # Python asks here for what the module does not have (PEP 562).
        if name in _REMOVED:
            asking = sys._getframe(1).f_globals.get("__name__") or ""
            if asking.split(".")[0] == "mxnet":
                return _REMOVED[name]
        return others(name)

    np.__getattr__ = answer


@contextlib.contextmanager
def _without_scikit_learn():
    """Let this thread not find scikit-learn, unless it is loaded already.

    MXNet would make its old FeedForward an estimator of it, and importing it takes as long as
    half of MXNet.
    """
    here = threading.get_ident()

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "sklearn" and threading.get_ident() == here:
                raise ModuleNotFoundError("not needed by MXNet", name=name)

    sys.meta_path.insert(0, Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(Finder)


def _load_mxnet():
    if "mxnet" not in sys.modules:
        check_environment()
        # One engine worker that runs each operator on all cores beats several workers that
        # fight over them, and spinning beats sleeping between operators this short. What
        # the user has set stays.
        for name, value in {
            "OMP_NUM_THREADS": usable_cores(),
            "MXNET_CPU_WORKER_NTHREADS": 1,
            "OPENBLAS_NUM_THREADS": 1,
            "GOMP_SPINCOUNT": 100_000,
        }.items():
            os.environ.setdefault(name, str(value))
    _give_removed_names()
    try:
        with warnings.catch_warnings(), _without_scikit_learn():
            # Of distutils, and of what NumPy and Python have changed since; -W error would stop at
            # them.
            warnings.simplefilter("ignore")
            import mxnet
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="mxnet")
    except ImportError as error:
        # Without --no-deps pip would not find a NumPy that is old enough for its metadata.
        raise InputError(
            f"cannot import mxnet ({error}); install it with 'make setup', or by hand: "
            "python -m pip install --no-deps mxnet==1.9.1. Its wheels are for Linux (x86-64, "
            f"aarch64) and macOS (x86-64); this is {platform.system()} {platform.machine()}."
        ) from error
    except TypeError as error:
        if sys.flags.optimize < 2:
            raise
        raise InputError(
            "mxnet needs docstrings, which Python drops with -OO or PYTHONOPTIMIZE=2; run it "
            "without"
        ) from error
    except OSError as error:
        if error.errno is not None:
            # Not of the loader of libraries, which has no such numbers.
            raise InputError(f"cannot import mxnet ({error})") from error
        # The wheel for aarch64 was built with libraries that it does not bring.
        arm = "install Arm Performance Libraries, or use an x86-64 container (docs/Dockerfile)"
        debian = "on Debian or Ubuntu: apt-get install libgomp1 libquadmath0"
        raise InputError(
            f"mxnet cannot load a system library ({error}); "
            + (arm if "libarm" in str(error) else debian)
        ) from error
    return mxnet


# Made on first use, see below.
mx: Any


def __getattr__(name: str) -> Any:
    # On first use, as it takes seconds, and the settings of a mode are read without it.
    if name == "mx":
        return _mxnet()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _mxnet():
    if "mx" not in globals():
        globals()["mx"] = _load_mxnet()
    return globals()["mx"]


def rows_of(array: NDArray, start: int, stop: int) -> NDArray:
    """A view of rows of an NDArray: ``array[start:stop]`` takes several times as long."""
    return array._slice(start, stop)


def turns_of(array: MaybeArray, n: int) -> Sequence[MaybeArray]:
    """The n slices of axis 1 of an NDArray (N, n, D); ``array[:, turn]`` takes longer."""
    if array is None:
        return [None] * n
    if n == 1:
        # A view, where a split would be one more operation.
        return [array.reshape((len(array), -1))]
    return _mxnet().nd.split(array, num_outputs=n, axis=1, squeeze_axis=True)


def n_threads() -> int:
    """How many threads compute an operator: MXNet read it when it was loaded."""
    return int(os.environ.get("OMP_NUM_THREADS") or 1)


def release_threads() -> None:
    """Let this thread's OpenMP team go: call it before many short operations.

    Copying a large array to or from MXNet leaves a team of threads in the calling thread,
    besides that of MXNet's engine. libgomp then counts more threads than cores, and instead
    of spinning lets all of them sleep between two parallel regions, which cost a fifth of
    the training time on two cores. Where OpenMP has no such call (before 5.0), nothing happens.
    """
    try:
        pause = _mxnet().base._LIB.omp_pause_resource_all
    except AttributeError:
        return
    pause(1)  # omp_pause_soft


def let_threads_sleep() -> None:
    """The opposite: make libgomp's threads sleep while they wait, until ``release_threads``.

    Beside another program that computes, spinning is what takes the core from the thread that
    all others wait for. What is computed stays the same to the last bit, which it would not with
    fewer threads. With other OpenMP libraries nothing happens.
    """
    try:
        parallel = _mxnet().base._LIB.GOMP_parallel
    except AttributeError:
        return
    if n_threads() == 1:
        return
    # One thread more than there are cores, each of which frees nothing.
    nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)
    parallel(nothing, None, ctypes.c_uint((os.cpu_count() or 1) + 1), ctypes.c_uint(0))


@functools.lru_cache(maxsize=None)
def _neighbours():
    return Neighbours(n_threads())


def settle_threads(at_once: bool = False) -> None:
    """Choose how threads wait in the steps to come; call it before each.

    It looks for other programs a few times a second, and ``at_once`` sets what it last found:
    after large copies, see ``release_threads``.
    """
    neighbours = _neighbours()
    if neighbours.look() is not None or at_once:
        (let_threads_sleep if neighbours.crowded else release_threads)()


def context(name: str) -> Context:
    """The MXNet context called ``cpu``, ``gpu`` or ``gpu(N)``.

    Raises ConfigError for any other name and for a GPU that is not there.
    """
    mx = _mxnet()
    kind, _, number = name.partition("(")
    if kind == "cpu":
        return mx.cpu()
    index = int(number.rstrip(")") or 0)
    if index >= mx.context.num_gpus():
        raise ConfigError(
            "ctx", name, f"MXNet sees {mx.context.num_gpus()} GPUs here; use --ctx cpu"
        )
    return mx.gpu(index)
