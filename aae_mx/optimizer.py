"""Adam (Kingma & Ba, arXiv 1412.6980) on Gluon parameters, with states that are plain arrays.

Gluon's Trainer computes the same, but saves its states as a pickle, which this project never
loads, and its operator takes three times as long as memory would need. So ``adam.c`` does
the update, if it could be compiled when the package was installed and the arrays lie in main
memory; otherwise MXNet's operator does. Both are queued in MXNet's engine.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import math
from pathlib import Path

import numpy as np

from aae_mx.backend import mx, n_threads
from aae_mx.networks import trained_parameters

# The smallest float32 that is no denormal number.
TINY = float(np.finfo(np.float32).tiny)


class Adam:
    """Adam for the parameters of one network.

    ``step`` queues the update and returns without waiting for it. Every entry of a gradient
    is first clipped to ±``clip``. ``compiled`` says whether adam.c does the work.
    """

    def __init__(self, network, beta1, beta2, epsilon, clip):
        self.decay = {"beta1": beta1, "beta2": beta2}
        self.options = {**self.decay, "epsilon": epsilon, "clip_gradient": clip}
        self.steps = 0
        self.parameters = trained_parameters(network)
        self.means = {name: mx.nd.zeros_like(p.data()) for name, p in self.parameters.items()}
        self.squares = {name: mx.nd.zeros_like(p.data()) for name, p in self.parameters.items()}
        contexts = {mean.context.device_type for mean in self.means.values()}
        self.compiled = _library is not None and contexts == {"cpu"}
        if self.compiled:
            self.update = _update_structure(len(self.parameters))(
                beta1=beta1,
                beta2=beta2,
                epsilon=epsilon,
                clip=clip,
                threads=n_threads(),
                count=len(self.parameters),
            )

    def step(self, learning_rate):
        """Update the parameters by the gradients that ``backward`` has left."""
        self.steps += 1
        learning_rate *= math.sqrt(1 - self.decay["beta2"] ** self.steps)
        learning_rate /= 1 - self.decay["beta1"] ** self.steps
        update = self._queue_compiled if self.compiled else self._queue_operators
        update(learning_rate)

    def _queue_operators(self, learning_rate):
        for name, parameter in self.parameters.items():
            weight = parameter.data()
            mx.nd.adam_update(
                weight,
                parameter.grad(),
                self.means[name],
                self.squares[name],
                out=weight,
                lr=learning_rate,
                **self.options,
            )
            for state in (self.means[name], self.squares[name]):
                # As adam.c has it.
                state *= mx.nd.abs(state) >= TINY

    def _queue_compiled(self, learning_rate):
        update = self.update
        update.rate = learning_rate
        reads, writes = [], []
        for i, (name, parameter) in enumerate(self.parameters.items()):
            weight, gradient = parameter.data(), parameter.grad()
            mean, square = self.means[name], self.squares[name]
            update.arrays[i] = _Array(
                _address(weight), _address(mean), _address(square), _address(gradient), weight.size
            )
            reads.append(gradient.handle)
            writes += [weight.handle, mean.handle, square.handle]
        mx.base.check_call(
            mx.base._LIB.MXEnginePushSyncND(
                _library.adam_run,
                ctypes.c_void_p(_library.adam_copy(ctypes.byref(update))),
                _library.adam_free,
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


# The structures of adam.c, and MXNet's Context (1 is its number for main memory).
class _Array(ctypes.Structure):
    _fields_ = [
        ("weight", ctypes.c_void_p),
        ("mean", ctypes.c_void_p),
        ("square", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("size", ctypes.c_long),
    ]


def _update_structure(count):
    class Update(ctypes.Structure):
        _fields_ = [
            *((name, ctypes.c_float) for name in ("rate", "beta1", "beta2", "epsilon", "clip")),
            ("threads", ctypes.c_int),
            ("count", ctypes.c_int),
            ("arrays", _Array * count),
        ]

    return Update


class _Context(ctypes.Structure):
    _fields_ = [("device_type", ctypes.c_int), ("device_id", ctypes.c_int32)]


def _address(array):
    pointer = ctypes.c_void_p()
    mx.base.check_call(mx.base._LIB.MXNDArrayGetData(array.handle, ctypes.byref(pointer)))
    return pointer.value


def _load_library():
    """adam.c as a shared library, or None where it was not compiled."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name("_adam" + suffix)
        if path.exists():
            library = ctypes.CDLL(str(path))
            library.adam_copy.restype = ctypes.c_void_p
            return library
    return None


_library = _load_library()
