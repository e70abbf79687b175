"""The only place that imports MXNet: what it needs is put right first.

MXNet 1.9.1 is the last release. It reads its thread settings when it is loaded, uses
NumPy names that NumPy 1.24 removed, and on Python 3.12 needs setuptools for distutils.
"""

import ctypes
import os
import platform
import sys
import warnings
from contextlib import contextmanager

import numpy as np

from aae_mx.errors import ConfigError, InputError


def _usable_cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _denormals_flushed():
    """Within it this thread, and for good the threads that it starts, take denormals for zero.

    The processor needs a hundred times as long for them (numbers below 1e-38), and Adam's means
    of weights that no longer learn become so small: that was a quarter of the time of a step at
    the end of a training. Where the mode is not known, nothing happens.
    """
    # Where the control register is in the C library's fenv_t, in 32 bits, and the mode's bits.
    place, bits = {
        ("Linux", "x86_64"): (7, 0x8040),
        ("Linux", "aarch64"): (0, 1 << 24),
        ("Darwin", "x86_64"): (1, 0x8040),
    }.get((platform.system(), platform.machine()), (0, 0))
    # At least as large as any fenv_t.
    usual, flushing = (ctypes.c_uint32 * 16)(), (ctypes.c_uint32 * 16)()
    try:
        get, put = (getattr(ctypes.CDLL(None), name) for name in ("fegetenv", "fesetenv"))
    except AttributeError:
        yield
        return
    get(usual)
    get(flushing)
    flushing[place] |= bits
    put(flushing)
    try:
        yield
    finally:
        # NumPy warns of the mode, so it is for MXNet's threads only.
        put(usual)


def _load_mxnet():
    if "mxnet" not in sys.modules:
        # One engine worker that runs each operator on all cores beats several workers that
        # fight over them, and spinning beats sleeping between operators this short. What
        # the user has set stays.
        for name, value in {
            "OMP_NUM_THREADS": _usable_cores(),
            "MXNET_CPU_WORKER_NTHREADS": 1,
            "OPENBLAS_NUM_THREADS": 1,
            "GOMP_SPINCOUNT": 100_000,
        }.items():
            os.environ.setdefault(name, str(value))
    for name, builtin in {"bool": bool, "int": int}.items():
        if name not in vars(np):
            setattr(np, name, builtin)
    try:
        with warnings.catch_warnings():
            # Of what NumPy and SciPy have changed since; -W error would stop at them.
            warnings.simplefilter("ignore")
            import mxnet
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="mxnet")

        with _denormals_flushed():
            # The engine starts its threads with the first operation.
            mxnet.nd.zeros(1).wait_to_read()
    except ImportError as error:
        raise InputError(
            f"cannot import mxnet ({error}); install it with 'make setup' or 'pip install "
            "mxnet==1.9.1 setuptools'. Its wheels are for Linux (x86-64, aarch64) and macOS "
            f"(x86-64); this is {platform.system()} {platform.machine()}."
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
        raise InputError(
            f"mxnet cannot load a system library ({error}); on Debian or Ubuntu: "
            "apt-get install libgomp1 libquadmath0"
        ) from error
    return mxnet


mx = _load_mxnet()


def release_threads():
    """Let this thread's OpenMP team go: call it before many short operations.

    Copying a large array to or from MXNet leaves a team of threads in the calling thread,
    besides that of MXNet's engine. libgomp then counts more threads than cores, and instead
    of spinning lets all of them sleep between two parallel regions, which cost a fifth of
    the training time on two cores. Where OpenMP has no such call (before 5.0), nothing happens.
    """
    try:
        pause = mx.base._LIB.omp_pause_resource_all
    except AttributeError:
        return
    pause(1)  # omp_pause_soft


def context(name):
    """The MXNet context called ``cpu``, ``gpu`` or ``gpu(N)``.

    Raises ConfigError for any other name and for a GPU that is not there.
    """
    kind, _, number = name.partition("(")
    if kind == "cpu":
        return mx.cpu()
    index = int(number.rstrip(")") or 0)
    if index >= mx.context.num_gpus():
        raise ConfigError(
            "ctx", name, f"MXNet sees {mx.context.num_gpus()} GPUs here; use --ctx cpu"
        )
    return mx.gpu(index)
