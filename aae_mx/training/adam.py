"""adam.c from Python: the structures that it takes, and how MXNet's engine gets its work."""

from __future__ import annotations

import ctypes
import importlib.machinery
from pathlib import Path
from typing import Any, Sequence

from aae_mx.backend import mx
from aae_mx.hints import NDArray


class _Array(ctypes.Structure):
    _fields_ = [
        ("weight", ctypes.c_void_p),
        ("mean", ctypes.c_void_p),
        ("square", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("size", ctypes.c_long),
    ]


class _Context(ctypes.Structure):
    # 1 is MXNet's number for main memory.
    _fields_ = [("device_type", ctypes.c_int), ("device_id", ctypes.c_int32)]


def update_structure(
    count: int, beta1: float, beta2: float, epsilon: float, clip: float, threads: int
) -> Any:
    """What adam.c works on: an update of ``count`` arrays."""

    class Update(ctypes.Structure):
        _fields_ = [
            *((name, ctypes.c_float) for name in ("rate", "beta1", "beta2", "epsilon", "clip")),
            ("threads", ctypes.c_int),
            ("count", ctypes.c_int),
            ("arrays", _Array * count),
        ]

    options = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "clip": clip}
    return Update(**options, threads=threads, count=count)


def queue(update: Any, rate: float, arrays: Sequence[tuple[NDArray, ...]]) -> None:
    """Queue an update of ``arrays``: for each weight (weight, mean, square, gradient)."""
    update.rate = rate
    reads, writes = [], []
    for i, (weight, mean, square, gradient) in enumerate(arrays):
        update.arrays[i] = _Array(*map(_address, (weight, mean, square, gradient)), weight.size)
        reads.append(gradient.handle)
        writes += [weight.handle, mean.handle, square.handle]
    mx.base.check_call(
        mx.base._LIB.MXEnginePushSyncND(
            library.adam_run,
            ctypes.c_void_p(library.adam_copy(ctypes.byref(update))),
            library.adam_free,
            ctypes.byref(_Context(1, 0)),
            (ctypes.c_void_p * len(reads))(*reads),
            len(reads),
            (ctypes.c_void_p * len(writes))(*writes),
            len(writes),
            None,
            0,
            b"adam",
        )
    )


def _address(array):
    pointer = ctypes.c_void_p()
    get = mx.base._LIB.MXNDArrayGetData
    if get(array.handle, ctypes.byref(pointer)) != 0:
        # A convolution's gradient is at this moment in a layout of oneDNN's own: once in some
        # hundred thousand calls. When it is computed, MXNet brings it back.
        array.wait_to_read()
        mx.base.check_call(get(array.handle, ctypes.byref(pointer)))
    return pointer.value


def _load_library():
    """adam.c as a shared library, or None where it was not compiled."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name("_adam" + suffix)
        if path.exists():
            loaded = ctypes.CDLL(str(path))
            loaded.adam_copy.restype = ctypes.c_void_p
            return loaded
    return None


library = _load_library()
