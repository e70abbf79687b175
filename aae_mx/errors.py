"""What can go wrong through a user's input; each message is one line that says what to do."""

from __future__ import annotations

from typing import Any


class AAEError(Exception):
    """The base of the others; catch it to catch them all."""


class ConfigError(AAEError, ValueError):
    """A setting that cannot be used. The command line ends with exit code 2.

    ``field`` is the name in :class:`aae_mx.Config`; the command line prints it as its option.
    ``message`` says what is wrong with ``value``, without the two.
    """

    def __init__(self, field: str, value: Any, message: str) -> None:
        super().__init__(f"{field}={_short(value, repr)}: {message}")
        self.field, self.value, self.message = field, value, message
        # A flag has no value.
        given = "" if value is True else f" {_short(value, option_text)}"
        self.option_message = f"{option_name(field)}{given}: {message}"


class InputError(AAEError, ValueError):
    """A file, directory or array that cannot be used. The command line ends with exit code 1."""


class Interrupted(AAEError):
    """A training that a signal has stopped, after it was saved.

    ``signal`` is its number; the command line ends with exit code 128 + that, as shells have it.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal


class StopTraining(Exception):
    """What the callback of ``aae_mx.fit`` or ``resume`` raises to end the training, saved.

    A wish and no error, so it is no AAEError. What it is given, as ``StopTraining("good enough")``,
    the log has as the reason.
    """


# More of a wrong value is not shown.
MAX_SHOWN = 200


def _short(value, text):
    """A text of a value, of any that somebody may give."""
    try:
        shown = text(value)
    except (ValueError, RecursionError) as error:
        # Python makes no text of a number of thousands of digits.
        return f"({error})"
    return shown if len(shown) <= MAX_SHOWN else shown[: MAX_SHOWN - 1] + "…"


def option_name(field: str) -> str:
    """The option of a field of Config: data_dir is --data-dir."""
    return "--" + field.replace("_", "-")


def option_text(value: object) -> str:
    """``value`` as it is written on the command line: (1000, 1000) is 1000,1000."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
