"""What the commands have in common: one line and an exit code for every mistake, and options."""

import dataclasses
import functools
import os
import sys
from contextlib import suppress
from pathlib import Path

import click

from aae_mx.config import CONV, RECIPES, ROLL, Config
from aae_mx.errors import AAEError, ConfigError, Interrupted, option_name
from aae_mx.text import LACKING, printable, say, to_nowhere

# Click 8.2 and later raise it, those before print the help and end with 0.
NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())


class _Ending:
    def main(self, *args, **kwargs):
        return _in_one_line(super().main, args, kwargs)


class Command(_Ending, click.Command):
    """A command that ends in one line for a user's mistake: code 2 for its use, else 1."""


class Group(_Ending, click.Group):
    """The same for a group of commands."""


def _in_one_line(main, args, kwargs):
    if hasattr(sys.stdout, "reconfigure"):
        # What click prints, as --help, may have characters that a terminal lacks, too.
        sys.stdout.reconfigure(errors=LACKING)
    try:
        status = main(*args, **{**kwargs, "standalone_mode": False})
        sys.exit(status if isinstance(status, int) else 0)
    except NO_ARGUMENTS as error:
        # A group without a command: its help.
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        # Click would print three lines of usage before the message.
        name = error.ctx.command_path if error.ctx else "aae-mx"
        message = " ".join(error.format_message().split())
        _fail(f"{message} See '{name} --help'.", 2)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except ConfigError as error:
        _fail(error.option_message, 2)
    except Interrupted as error:
        _fail(str(error), 128 + error.signal)
    except BrokenPipeError:
        # Who read the help has gone.
        to_nowhere(sys.stdout)
        sys.exit(1)
    except (AAEError, OSError) as error:
        _fail(str(error), 1)
    except (click.Abort, KeyboardInterrupt):
        # 128 + SIGINT, as shells have it. Abort is a RuntimeError, so this goes first.
        _fail("interrupted", 130)
    except (MemoryError, RuntimeError) as error:
        # By name, as importing MXNet takes seconds: a usage error need not wait for it.
        if not isinstance(error, MemoryError) and type(error).__name__ != "MXNetError":
            raise
        reason = (str(error).strip() or "out of memory").splitlines()[-1]
        _fail(f"the networks or batches are too large, or MXNet failed ({reason})", 1)


def _fail(message, status):
    with suppress(AAEError):
        # Where stderr cannot be written, the exit code still says it.
        say(f"Error: {printable(message)}", err=True)
    sys.exit(status)


def command(**kwargs):
    """A click command with this project's way of ending, and ``-h`` beside ``--help``."""
    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
    return click.command(cls=Command, context_settings=settings, **kwargs)


def config_options(function):
    """Decorate a command with an option for every field of Config, in their order."""
    for field in reversed(dataclasses.fields(Config)):
        function = _config_option(field)(function)
    return function


def _config_option(field):
    # Limits stay with Config, so that a bad value gets the same answer from everywhere.
    option = option_name(field.name)
    choices = field.metadata.get("choices")
    extra = {}
    if "Tuple" in field.type:
        kind, default = Numbers(), field.default and _numbers(field.default)
    elif choices and "int" in field.type:
        kind, default = int, field.default
        extra = {"metavar": "|".join(map(str, choices))}
    elif choices:
        kind, default = Choice(choices, field.metadata["also"]), field.default
    elif field.type == "bool":
        kind, default = bool, field.default
        extra = {"is_flag": True}
    elif field.name == "labels":
        kind, default = Labels(), field.default
        extra = {"is_flag": False, "flag_value": "all", "metavar": "[N]"}
    else:
        kind = next(k for k in (float, int, str) if k.__name__ in field.type)
        default = field.default
        if kind is str:
            metavars = {"data_dir": "DIR", "images": "DIR", "dataset": "NAME", "ctx": "DEVICE"}
            extra = {"metavar": metavars[field.name]}
    text = field.metadata["help"]
    defaults = [recipe.get(field.name) for recipe in RECIPES["default"]]
    if None not in defaults:
        conv = [recipe.get(field.name, value) for recipe, value in zip(CONV, defaults)]
        roll = ROLL[field.name]
        text += f" [default: {_with_labels(*defaults)}"
        if roll != defaults[0]:
            text += f"; swiss_roll without labels {_text(roll)}"
        if conv != defaults or (roll != defaults[0] and field.name in CONV[0]):
            text += f"; --arch conv {_with_labels(*conv)}"
        text += "]"
    if "prior" in field.metadata:
        text += f" For the {field.metadata['prior']} prior."
    return click.option(
        option,
        field.name,
        type=kind,
        default=default,
        help=text,
        show_default=default is not None and default is not False,
        **extra,
    )


def _with_labels(without, with_labels):
    return _text(without) + f", with labels {_text(with_labels)}" * (without != with_labels)


def _text(value):
    return _numbers(value) if isinstance(value, tuple) else str(value)


def _numbers(values):
    return ",".join(map(str, values))


class Numbers(click.ParamType):
    """Whole numbers with commas between, as a tuple."""

    name = "N,N,..."

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r}: expected whole numbers with commas between, as 1000,1000")


class Choice(click.Choice):
    """One of some texts, for which there may be other spellings, as {spelling: text}."""

    def __init__(self, choices, also):
        super().__init__(choices)
        self.also = also

    def convert(self, value, param, ctx):
        return super().convert(self.also.get(value, value), param, ctx)


class Labels(click.ParamType):
    """``all``, ``none`` or a number of labelled images."""

    name = "labels"

    def convert(self, value, param, ctx):
        return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value


def option_run():
    """The argument RUN: the directory of a finished run."""
    return click.argument("run", type=click.Path(path_type=Path))


def option_place(what="Where the run's {} are now, if they have been moved.", **images):
    """The options --images and --data-dir of commands that read a run's data, or others.

    ``images``: what the first has that is not as of the second.
    """

    def decorate(function):
        data_dir = {"metavar": "DIR", "help": what.format("IDX files")}
        images_too = {"metavar": "DIR", "help": what.format("pictures"), **images}
        function = click.option("--data-dir", **data_dir)(function)
        return click.option("--images", **images_too)(function)

    return decorate


def option_seed(what):
    """The option --seed of commands that draw something."""
    return click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help=what
    )


def writable_file(path, suffixes, overwrite, option="out"):
    """Check ``path``, given as ``option``, as a file to be written, before the work that fills it.

    Raises ConfigError for another suffix, a directory that is not there and a file that is.
    """
    path = Path(path)
    if path.suffix not in suffixes:
        raise ConfigError(option, path, f"expected a file that ends in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise ConfigError(
            option, path, f"the directory {path.parent} does not exist; make it first"
        )
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(option, path, f"the directory {path.parent} cannot be written")
    if path.exists() and not overwrite:
        raise ConfigError(option, path, "the file exists; add --overwrite or choose another")
    return path


option_overwrite = functools.partial(
    click.option, "--overwrite", is_flag=True, help="Replace files that exist."
)
