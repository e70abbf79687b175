"""Adam and SGD on Gluon parameters, with states that are plain arrays.

Gluon's Trainer computes the same, but saves its states as a pickle, which this project never
loads, and its operator takes three times as long as memory would need. So for Adam ``adam.c`` does
the update, if it could be compiled when the package was installed and the arrays lie in main
memory; otherwise MXNet's operators do. All are queued in MXNet's engine.
"""

from __future__ import annotations

import math
from typing import Any, Optional

import numpy as np

from aae_mx.backend import mx, n_threads
from aae_mx.hints import Mode, NDArray, Parameter, Shapes
from aae_mx.networks.build import trained_parameters
from aae_mx.training import adam

# The smallest float32 that is no denormal number.
TINY = float(np.finfo(np.float32).tiny)
# Steps of SGD between two looks for such numbers.
LOOK_EVERY = 10
# Of the decoder's rate, where it learns alone: it has learnt already. Three times as much cost a
# nat, half of it or twice the epochs changed nothing (docs/paper.md).
ALONE = 1 / 3


class Adam:
    """Adam (Kingma & Ba, arXiv 1412.6980) for {name: Parameter}.

    ``step`` queues the update and returns without waiting for it. Every entry of a gradient
    is first clipped to ±``clip``. ``compiled`` says whether adam.c does the work.
    """

    kind, states = "adam", ("mean", "square")

    def __init__(
        self,
        parameters: dict[str, Parameter],
        beta1: float,
        beta2: float,
        epsilon: float,
        clip: float,
    ) -> None:
        self.decay = {"beta1": beta1, "beta2": beta2}
        self.options = {**self.decay, "epsilon": epsilon, "clip_gradient": clip}
        self.steps = 0
        self.parameters = parameters
        self.means, self.squares = zeros_for(parameters), zeros_for(parameters)
        self.arrays = {"mean": self.means, "square": self.squares}
        contexts = {mean.context.device_type for mean in self.means.values()}
        self.compiled = adam.library is not None and contexts == {"cpu"}
        if self.compiled:
            self.update = adam.Update(
                [p.data() for p in parameters.values()],
                [p.grad() for p in parameters.values()],
                list(self.means.values()),
                list(self.squares.values()),
                beta1=beta1,
                beta2=beta2,
                epsilon=epsilon,
                clip=clip,
                threads=n_threads(),
            )

    def step(self, learning_rate: float) -> None:
        """Update the parameters by the gradients that ``backward`` has left."""
        self.steps += 1
        learning_rate *= math.sqrt(1 - self.decay["beta2"] ** self.steps)
        learning_rate /= 1 - self.decay["beta1"] ** self.steps
        if self.compiled:
            self.update.queue(learning_rate)
        else:
            self._queue_operators(learning_rate)

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


class SGD:
    """Stochastic gradient descent with momentum for {name: Parameter}; the rest as Adam.

    v becomes momentum v − rate gradient, and the weight moves by v.
    """

    kind, states = "sgd", ("velocity",)

    def __init__(self, parameters: dict[str, Parameter], momentum: float, clip: float) -> None:
        self.options = {"momentum": momentum, "clip_gradient": clip}
        self.steps = 0
        self.parameters = parameters
        self.arrays = {"velocity": zeros_for(parameters)}

    def step(self, learning_rate: float) -> None:
        self.steps += 1
        for name, parameter in self.parameters.items():
            weight, velocity = parameter.data(), self.arrays["velocity"][name]
            mx.nd.sgd_mom_update(
                weight, parameter.grad(), velocity, out=weight, lr=learning_rate, **self.options
            )
            # No denormal numbers, as in Adam. A few steps of one cost less than a look in each.
            if self.steps % LOOK_EVERY == 0:
                velocity *= mx.nd.abs(velocity) >= TINY


def zeros_for(parameters: dict[str, Parameter]) -> dict[str, NDArray]:
    return {name: mx.nd.zeros_like(p.data()) for name, p in parameters.items()}


class Learner:
    """The optimizers of a mode, called by its step: ``learn(loss, *names)``.

    It goes back from the loss and steps the optimizers of these names, each at the rate of its
    setting, as far as that has decayed.
    """

    def __init__(self, mode: Mode) -> None:
        self.mode, self.scale, self.share, self.decoder_alone = mode, 1.0, 1.0, False
        self.optimizers = {
            name: _made(mode, name) for name in mode.optimizers if name not in mode.shares
        }
        for name, owner in mode.shares.items():
            self.optimizers[name] = self.optimizers[owner]

    def at(
        self, epoch: int, left: float, share: float = 1.0, decoder_left: Optional[float] = None
    ) -> None:
        """Set the rates for a step of ``epoch``, with so large a share of the training left.

        ``share``: of the batch's rows, those that this worker has. ``decoder_left``: where the
        decoder learns alone, how much is left of that; no other optimizer steps then.
        """
        self.share, self.decoder_alone = share, decoder_left is not None
        left = left if decoder_left is None else decoder_left
        decay = self.mode.config.decay
        if decay == "steps":
            # Source: the paper, as its reimplementations have it.
            self.scale = 1.0 if epoch <= 50 else 0.1 if epoch <= 1000 else 0.01
        else:
            self.scale = left if decay == "linear" else 1.0
        if self.decoder_alone:
            self.scale *= ALONE

    def __call__(self, loss: NDArray, *names: str, share: Optional[float] = None) -> None:
        """``share``: of the rows that the loss is a mean over, where that is not of the batch's."""
        if self.decoder_alone:
            names = tuple(name for name in names if name == "decoder")
            if not names:
                # Nothing would learn from going back.
                return
        if self.mode.exchange.n == 1:
            loss.backward()
        else:
            share = self.share if share is None else share
            loss.backward(mx.nd.full(loss.shape, share, ctx=loss.context))
            moved = [p for name in names for p in self.optimizers[name].parameters.values()]
            self.mode.exchange.sum_gradients("+".join(names), [p.grad() for p in moved])
        for name in names:
            rate = getattr(self.mode.config, self.mode.optimizers[name].rate)
            self.optimizers[name].step(self.scale * rate)

    def _owners(self):
        return {name: o for name, o in self.optimizers.items() if name not in self.mode.shares}

    def state(self) -> dict[str, np.ndarray]:
        """The states of all optimizers, {name: array}."""
        arrays = {}
        for name, optimizer in self._owners().items():
            prefix = f"{optimizer.kind}/{name}"
            arrays[f"{prefix}/steps"] = np.array(optimizer.steps, np.int64)
            for state, values in optimizer.arrays.items():
                for key, value in values.items():
                    arrays[f"{prefix}/{state}/{key}"] = value.asnumpy()
        return arrays

    def set_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the states from what ``state`` gives; more arrays do no harm."""
        for name, optimizer in self._owners().items():
            prefix = f"{optimizer.kind}/{name}"
            optimizer.steps = int(arrays[f"{prefix}/steps"])
            for state, values in optimizer.arrays.items():
                for key, value in values.items():
                    stored = arrays[f"{prefix}/{state}/{key}"]
                    value[:] = mx.nd.array(stored, ctx=self.mode.ctx)


def state_shapes(mode: Mode) -> Shapes:
    """What ``Learner.state`` of a mode holds, {name: (dtype, shape)}; nothing is allocated."""
    kind: Any = {"adam": Adam, "sgd": SGD}[mode.config.optimizer]
    shapes: Shapes = {}
    for name in mode.optimizers:
        if name not in mode.shares:
            shapes[f"{kind.kind}/{name}/steps"] = ("<i8", ())
            for state in kind.states:
                for key, parameter in _moved(mode, name).items():
                    shapes[f"{kind.kind}/{name}/{state}/{key}"] = ("<f4", parameter.shape)
    return shapes


def _made(mode, name):
    config, parameters = mode.config, _moved(mode, name)
    if config.optimizer == "adam":
        return Adam(parameters, config.beta1, config.beta2, config.epsilon, config.clip)
    adversarial = mode.optimizers[name].adversarial
    momentum = config.adversarial_momentum if adversarial else config.momentum
    return SGD(parameters, momentum, config.clip)


def _moved(mode, name):
    """The parameters that an optimizer moves, by name; of several networks, with theirs."""
    networks = mode.optimizers[name].networks
    return {
        key if len(networks) == 1 else f"{network}/{key}": parameter
        for network in networks
        for key, parameter in trained_parameters(mode.networks[network]).items()
    }
