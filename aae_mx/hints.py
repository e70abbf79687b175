"""Types that annotations name: of NumPy, MXNet and matplotlib, and of rooms above.

Annotations are never evaluated, so type checkers alone see what is imported here; the names are
there for everybody.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence, Union

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator as Generator
    from numpy.typing import ArrayLike as ArrayLike

    from aae_mx.config import Config as Config
    from aae_mx.data import Dataset as Dataset
    from aae_mx.model import AAE as AAE
    from aae_mx.modes.mode import Mode as Mode
    from aae_mx.report.figures import Scene as Scene
    from aae_mx.training.batches import Batch as Batch
else:
    Generator = ArrayLike = Config = Dataset = AAE = Mode = Scene = Batch = Any

# The path of a file or a directory.
PathLike = Union[str, os.PathLike[str]]
# What decides random numbers, as numpy.random.default_rng takes it.
Seed = Union[None, int, Sequence[int]]
Shape = tuple[int, ...]
# Of N images, int64 (N,); None where there are none. And what may be given for them.
Labels = Optional["np.ndarray"]
LabelsLike = Union[None, int, Sequence[int], "np.ndarray"]
# {name: (dtype, shape)} of arrays.
Shapes = dict[str, tuple[str, Shape]]

# What is called after each epoch with its number and its row of the history.
Callback = Callable[[int, dict[str, float]], None]
# ``learn(loss, *optimizers)`` of a mode's step.
Learn = Callable[..., None]
# What a mode exports, {name: (inputs, output, function)}.
Exports = dict[str, tuple[dict[str, int], str, Callable[..., Any]]]
# How a figure is drawn on axes, and its size; or None and why it cannot be.
Drawing = tuple[Optional[Callable[..., None]], Any]

# Of MXNet, which has no types: an array on the device, a network, its parameters, where it
# computes, and a module of operators, which is mxnet.nd or mxnet.sym.
NDArray = Any
Block = Any
Parameter = Any
Context = Any
Operators = Any
MaybeArray = Optional[NDArray]
Pair = tuple[NDArray, NDArray]
# Of matplotlib, of which old releases have none either.
Axes = Any
