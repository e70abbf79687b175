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


class Update:
    """Updates of some weights by their gradients, means and squares: always the same arrays.

    ``options``: those of adam.c, ``beta1``, ``beta2``, ``epsilon``, ``clip`` and ``threads``.
    """

    def __init__(
        self,
        weights: Sequence[NDArray],
        gradients: Sequence[NDArray],
        means: Sequence[NDArray],
        squares: Sequence[NDArray],
        **options: Any,
    ) -> None:
        class Structure(ctypes.Structure):
            _fields_ = [
                *((name, ctypes.c_float) for name in ("rate", "beta1", "beta2", "epsilon", "clip")),
                ("threads", ctypes.c_int),
                ("count", ctypes.c_int),
                ("arrays", _Array * len(means)),
            ]

        self.structure = Structure(**options, count=len(means))
        # What never changes is asked for once. Weights and gradients may be laid out anew.
        for row, mean, square in zip(self.structure.arrays, means, squares):
            for array in (mean, square):
                # Before, there is no address.
                array.wait_to_read()
            row.mean, row.square, row.size = _address(mean), _address(square), mean.size
        self.moving = list(zip(self.structure.arrays, weights, gradients))
        self.read, self.written = _handles(gradients), _handles([*weights, *means, *squares])

    def queue(self, rate: float) -> None:
        """Queue an update by what the gradients are then."""
        self.structure.rate = rate
        for row, weight, gradient in self.moving:
            row.weight, row.gradient = _address(weight), _address(gradient)
        mx.base.check_call(
            mx.base._LIB.MXEnginePushSyncND(
                library.adam_run,
                ctypes.c_void_p(library.adam_copy(ctypes.byref(self.structure))),
                library.adam_free,
                ctypes.byref(_Context(1, 0)),
                self.read,
                len(self.read),
                self.written,
                len(self.written),
                None,
                0,
                b"adam",
            )
        )


def _handles(arrays):
    return (ctypes.c_void_p * len(arrays))(*(array.handle for array in arrays))


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
