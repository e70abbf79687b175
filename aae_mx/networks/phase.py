"""A phase of a training step as one operation of MXNet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Callable, Sequence

from aae_mx.backend import mx
from aae_mx.hints import Block, MaybeArray, NDArray, Operators

HybridBlock: Any = mx.gluon.HybridBlock


class Given(dict):
    """What a phase is given, by name; None for what it is not."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
    else:
        __getattr__ = dict.get


class Phase(HybridBlock):
    """Computes what a phase of a step has to, recorded for a Learner to go back from the loss.

    ``function(F, given)`` has the loss as its first result, and whatever else is wanted; it is
    called once, with symbols for ``F`` and ``given``, so it may ask for no sizes. ``networks``:
    those that it trains. ``still``: others that it uses; no time goes into their gradients.

    The thread of Python competes with those that compute: handing over one operation instead of
    tens made a step on two cores a tenth faster.
    """

    def __init__(
        self, function: Callable[..., Any], *networks: Block, still: Sequence[Block] = ()
    ) -> None:
        super().__init__()
        self.function = function
        self.names: tuple[str, ...] = ()
        for network in (*networks, *still):
            self.register_child(network)
        ps = [p for network in still for p in network.collect_params().values()]
        # What Gluon asks for data instead of a parameter: to a graph they are constants then.
        self.still = {p: SimpleNamespace(data=lambda p=p: p.data().detach()) for p in ps}
        self._cached_op_args: list[Any] = []
        self.hybridize(static_alloc=True, static_shape=True)

    def __call__(self, **given: MaybeArray) -> Any:
        names = tuple(name for name, array in given.items() if array is not None)
        if names != self.names:
            # Traced anew.
            self._clear_cached_op()
            self.names = names
        with mx.autograd.record():
            return super().__call__(*(given[name] for name in names))

    def _build_cache(self, *arrays: NDArray) -> None:
        super()._build_cache(*arrays)
        self._cached_op_args = [(given, self.still.get(a, a)) for given, a in self._cached_op_args]

    def hybrid_forward(self, F: Operators, *arrays: NDArray) -> tuple[NDArray, ...]:
        return self.function(F, Given(zip(self.names, arrays)))
