"""The callback of a training: one function of the user's own, called after each epoch.

``callback(epoch, metrics)`` is called once the epoch's row of the history is written and, where one
is due, its checkpoint. ``epoch``: an int from 1 on. ``metrics``: that row, {column: float}, not
rounded; a copy. It may take its time, which the column ``seconds`` does not count.

It can raise ``aae_mx.StopTraining`` to end the training: what was trained is saved, and ``fit``
returns the model as it is then. ``resume`` goes on from there as if nothing had happened. Any other
exception reaches who called ``fit``, once that is saved as well.

A callback that has to see the model has a method ``attach(model, dataset)``, which is called before
the first epoch with the ``aae_mx.model.AAE`` and the Dataset. It may use the model, but change
nothing about it. A function can have one as well: ``callback.attach = ...``.
"""

from __future__ import annotations

from typing import Any, Callable, ContextManager, Optional

from aae_mx.errors import InputError, StopTraining
from aae_mx.hints import AAE, Callback, Dataset
from aae_mx.text import printable, shortened


def check_callback(callback: object) -> None:
    """Raise InputError unless it is one that can be called, or None."""
    if callback is not None and not callable(callback):
        raise InputError(
            f"callback={shortened(printable(repr(callback)), 60)}: expected one function "
            "f(epoch, metrics), or None"
        )


def attach(callback: Any, model: AAE, dataset: Dataset) -> None:
    """Show it what is being trained, if it asks for that."""
    if hasattr(callback, "attach"):
        callback.attach(model, dataset)


def call(
    callback: Optional[Callback],
    row: dict[str, Any],
    save: Callable[[], None],
    aside: Callable[[], ContextManager[None]],
) -> Optional[str]:
    """Call it with a row of the history; if it ends the training, how to say so, else None.

    ``save``: called before an exception is passed on. ``aside()``: a context in which it can print.
    """
    if callback is None:
        return None
    try:
        with aside():
            callback(row["epoch"], {name: float(value) for name, value in row.items()})
    except StopTraining as wish:
        reason = printable(str(wish))
        return "stopped by the callback" + f" ({reason})" * bool(reason)
    except BaseException:
        save()
        raise
    return None
