"""What a setting is: its name, kind, limits, default and description, in one place.

Settings are read by Config, the command line and the tables of the documentation. They are
declared where they belong: the common ones in config.py, those of a mode in the mode's file,
those of a prior as the fields of its dataclass.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shlex
import struct
from typing import Any, NoReturn, Optional

from aae_mx.errors import ConfigError, option_name, option_text

# The headings of --help, in order.
GROUPS = ("mode", "data", "prior", "networks", "training", "rates", "noise", "run")

# The default of a setting that the recipe decides, see recipes.py.
FROM_RECIPE = None
# The setting ``dataset`` of what was trained on arrays in memory.
IN_MEMORY = "arrays"
# No whole number is larger, no list or text longer; a run of a stranger may ask for anything.
MAX_INT, MAX_NUMBERS, MAX_TEXT = 2**63 - 1, 64, 4096
# Of units of a layer, dimensions, kinds.
MAX_SIZE = 2**16


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of a run.

    ``kind``: bool, int, float, str, ``"numbers"`` (whole numbers, at least one, as a tuple) or
    ``"labels"`` (``none``, ``all`` or a number). ``optional``: None is a value of it, and not
    "not given". ``also``: {another spelling: choice}; one with hyphens always is. ``only``: what
    another setting has to be, as {"arch": "mlp"}, or it has no effect and is refused;
    ``of_images``: so it is for data that are no images.
    """

    name: str
    kind: Any
    default: Any
    help: str
    group: str = "training"
    optional: bool = False
    choices: tuple = ()
    also: dict = dataclasses.field(default_factory=dict)
    at_least: Optional[float] = None
    above: Optional[float] = None
    below: Optional[float] = None
    at_most: Optional[float] = None
    only: dict = dataclasses.field(default_factory=dict)
    metavar: Optional[str] = None
    of_images: bool = False

    def check(self, value: Any) -> Any:
        """``value`` as it is kept: numbers of NumPy and lists of JSON become Python's own.

        Raises ConfigError for another type, or what lies outside of the limits.
        """
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, str):
            spellings = {text.replace("_", "-"): text for text in map(str, self.choices)}
            value = {**spellings, **self.also}.get(value, value)
        elif isinstance(value, list):
            value = tuple(value)
        elif hasattr(value, "item"):
            value = value.item()
        if isinstance(value, int) and not isinstance(value, bool) and self.kind is float:
            value = float(value) if abs(value) < 2**1000 else math.inf
        if value is None and self.optional:
            return None
        if self.kind == "labels":
            if value not in ("none", "all") and not (_is(int, value) and value >= 1):
                self.refuse(value, "expected 'all', 'none' or a number of images, at least 1")
            return value
        several = self.kind == "numbers"
        if several and not (isinstance(value, tuple) and value):
            self.refuse(value, "expected numbers with commas between, as 1000,1000")
        if several and len(value) > MAX_NUMBERS:
            self.refuse(value, f"expected at most {MAX_NUMBERS} numbers")
        for item in value if several else (value,):
            self._check_one(value, item)
        if self.name == "ctx" and not re.fullmatch(r"cpu|gpu(\(\d{1,3}\))?", value):
            self.refuse(value, "expected cpu, gpu or gpu(N)")
        if self.name == "dataset" and not re.fullmatch(r"\w[\w.() +-]*", value):
            # scikit-learn would make directories of such a name.
            self.refuse(value, "expected 'mnist', or a name of OpenML, which has no separators")
        return value

    def _check_one(self, value, item):
        kind = int if self.kind == "numbers" else self.kind
        if not _is(kind, item):
            self.refuse(value, f"expected {KINDS[kind]}")
        if self.choices and item not in self.choices:
            self.refuse(value, f"expected one of {', '.join(map(str, self.choices))}")
        if kind is str:
            self._check_text(value)
        # What is computed has single precision, in which a number may be a limit.
        single = _single(item) if kind is float else item
        if kind is float and not math.isfinite(single):
            self.refuse(value, "expected a number that single precision can hold")
        if self.at_least is not None and item < self.at_least:
            self.refuse(value, f"expected at least {self.at_least}")
        if self.above is not None and (item <= self.above or single <= self.above):
            self.refuse(value, f"expected more than {self.above}{_in_single(item, self.above)}")
        if self.below is not None and (item >= self.below or single >= self.below):
            self.refuse(value, f"expected less than {self.below}{_in_single(self.below, item)}")
        most = MAX_INT if self.at_most is None and kind is int else self.at_most
        if most is not None and item > most:
            self.refuse(value, f"expected at most {most}")

    def _check_text(self, value):
        if "\0" in value or any(
            "\ud800" <= c <= "\udc7f" or "\udcff" < c <= "\udfff" for c in value
        ):
            self.refuse(value, "it has characters that no text has")
        if len(value) > MAX_TEXT:
            self.refuse(value, f"expected at most {MAX_TEXT} characters")

    def refuse(self, value: object, message: str) -> NoReturn:
        raise ConfigError(self.name, value, message)


def as_options(settings: dict[str, Any]) -> str:
    """{name: value} as options of ``python -m aae_mx.train``, one text for a shell.

    None is no value of an option, so leave it out.
    """
    parts = []
    for name, value in settings.items():
        option = option_name(name)
        parts.append(option.replace("--", "--no-", 1) if value is False else option)
        if not isinstance(value, bool):
            parts.append(shlex.quote(option_text(value)))
    return " ".join(parts)


# What a value can be, and what it is called.
KINDS = {bool: "True or False", float: "a finite number", int: "a whole number", str: "a text"}


def _single(number):
    """A number as single precision has it."""
    try:
        return struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return math.inf


def _in_single(item, limit):
    """What is to be added to a limit that only single precision meets."""
    return ", also in single precision" if item > limit else ""


def _is(kind, value):
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, kind):
        return False
    return kind is not float or math.isfinite(value)
