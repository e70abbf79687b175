"""A phase of a training step as one operation of MXNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Sequence

from aae_mx.backend import mx
from aae_mx.hints import Block, MaybeArray


class Given(dict):
    """What a phase is given, by name; None for what it is not."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
    else:
        __getattr__ = dict.get


class Phase:
    """Computes what a phase of a step has to, recorded for a Learner to go back from the loss.

    ``function(F, given)`` has the loss as its first result, and whatever else is wanted; it is
    called once, with symbols for ``F`` and ``given``, so it may ask for no sizes. ``networks``:
    those that it trains. ``still``: others that it uses; no time goes into their gradients.

    The thread of Python competes with those that compute: handing over one operation instead of
    tens made a step on two cores a tenth faster. Gluon would ask for every parameter in every step.
    """

    def __init__(
        self, function: Callable[..., Any], *networks: Block, still: Sequence[Block] = ()
    ) -> None:
        self.function, self.networks, self.still = function, networks, still
        self.names: Any = None

    def __call__(self, **given: MaybeArray) -> Any:
        names = tuple(name for name, array in given.items() if array is not None)
        if names != self.names:
            self._trace(names)
        arrays = [given[a] if isinstance(a, str) else a for a in self.inputs]
        with mx.autograd.record():
            return self.graph(*arrays)

    def _trace(self, names):
        """Make the graph, and a list of what it takes: the name of what is given, or an array."""
        graph = mx.sym.Group(list(self.function(mx.sym, Given((n, mx.sym.var(n)) for n in names))))
        arrays = {p.name: p.data() for p in _parameters(self.networks)}
        # To a graph they are constants then.
        arrays.update({p.name: p.data().detach() for p in _parameters(self.still)})
        self.inputs = [arrays.get(name, name) for name in graph.list_inputs()]
        named = [i for i, a in enumerate(self.inputs) if isinstance(a, str)]
        fixed = [i for i, a in enumerate(self.inputs) if not isinstance(a, str)]
        flags = {"data_indices": named, "param_indices": fixed}
        flags.update(static_alloc=True, static_shape=True)
        self.graph, self.names = mx.nd.CachedOp(graph, list(flags.items())), names


def _parameters(networks):
    return [p for network in networks for p in network.collect_params().values()]
