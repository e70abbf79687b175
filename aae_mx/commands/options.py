"""What the commands have in common: one line and an exit code for every mistake, and options."""

from __future__ import annotations

import functools
import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence

import click

from aae_mx import modes, priors, recipes
from aae_mx.config import DEFAULT_MODE, PLACES, all_settings, mode_settings
from aae_mx.errors import AAEError, ConfigError, Interrupted, option_name, option_text
from aae_mx.hints import PathLike
from aae_mx.plugins import load_plugin
from aae_mx.settings import GROUPS, Setting
from aae_mx.text import LACKING, open_streams, printable, say, shortened, to_nowhere

# Characters of a message; names in files may be of any length.
MAX_MESSAGE = 2000
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
    open_streams()
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
        say(f"Error: {shortened(printable(message), MAX_MESSAGE)}", err=True)
    sys.exit(status)


def command(kind: type[click.Command] = Command, **kwargs: Any) -> Callable[..., Any]:
    """A click command with this project's way of ending, and ``-h`` beside ``--help``."""
    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

    def decorate(function):
        return click.command(cls=kind, context_settings=settings, **kwargs)(option_plugin(function))

    return decorate


def option_plugin(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option --plugin of every command, for priors and modes of the user's own."""

    def load(ctx, param, paths):
        for path in paths:
            load_plugin(path)

    return click.option(
        "--plugin",
        metavar="FILE.py",
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=load,
        help="A Python file of your own with priors or modes, which is run. Can be given again.",
    )(function)


class ConfigCommand(Command):
    """A command with an option for every setting of every mode and prior.

    They are made when it is called, as files given by --plugin add to them; the help shows those
    of one mode, in groups.
    """

    def make_context(
        self,
        info_name: Optional[str],
        args: list[str],
        parent: Optional[click.Context] = None,
        **extra: Any,
    ) -> click.Context:
        for path in _values_of("--plugin", args):
            load_plugin(path)
        self.mode = [DEFAULT_MODE, *_values_of("--mode", args)][-1].replace("-", "_")
        return super().make_context(info_name, args, parent, **extra)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        options = [config_option(setting) for setting in all_settings().values()]
        return [*options, *super().get_params(ctx)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        mode = self.mode if self.mode in modes.MODES else DEFAULT_MODE
        settings = mode_settings(mode)
        groups: dict[str, list[Any]] = {group: [] for group in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.name in settings:
                name, text = record
                text += defaults_text(settings[parameter.name], mode)
                groups[settings[parameter.name].group].append((name, text))
            elif parameter.name not in all_settings():
                groups["run"].append(record)
        for group, records in groups.items():
            title = "Run" if group == "run" else f"{group.capitalize()} ({mode})"
            title = {"mode": "What is trained", "data": "Data"}.get(group, title)
            with formatter.section(title):
                formatter.write_dl(records)


def _values_of(option, args):
    """The values of an option among arguments that are not parsed yet."""
    for i, argument in enumerate(args):
        if argument == option and i + 1 < len(args):
            yield args[i + 1]
        elif argument.startswith(option + "="):
            yield argument[len(option) + 1 :]


def given_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Of the values of a ConfigCommand's settings those that were given, {name: value}."""
    source = click.get_current_context().get_parameter_source
    default = click.core.ParameterSource.DEFAULT
    return {name: v for name, v in values.items() if source(name) != default}


def config_option(setting: Setting) -> click.Option:
    """The click option of a Setting. Limits stay with it, so that a bad value gets one answer."""
    kind: Any
    extra: dict[str, Any] = {}
    choices: Any = {"prior": priors.PRIORS, "mode": modes.MODES}.get(setting.name, setting.choices)
    if setting.kind == "numbers":
        kind = Numbers()
    elif setting.kind == "labels":
        kind = Labels()
        extra = {"is_flag": False, "flag_value": "all", "metavar": "[N]"}
    elif setting.kind is bool:
        kind, extra = bool, {"is_flag": True, "default": setting.default}
    elif choices and setting.kind is str:
        kind = Choice(list(choices), setting.also)
    else:
        kind = setting.kind
        metavar = "|".join(map(str, choices)) if choices else setting.metavar
        extra = {"metavar": metavar} if metavar else {}
    text = setting.help
    if setting.name == "mode":
        text += "".join(f" {mode.name}: {mode.summary}." for mode in modes.MODES.values())
    name = option_name(setting.name)
    name += f"/{name.replace('--', '--no-', 1)}" if setting.kind is bool else ""
    return click.Option([name, setting.name], type=kind, help=text, **extra)


def defaults_text(setting: Setting, mode: str) -> str:
    """What a setting is by default in a mode, by its recipe: for --help and the documentation."""
    if setting.name == "mode" or "[default:" in setting.help:
        return ""
    by_default = [r for r in recipes.of_mode(mode) if "default" in r.when["recipe"]]
    values: dict[str, Any] = {}
    for recipe in by_default:
        value = recipe.values().get(setting.name, setting.default)
        arch = recipe.when.get("arch", ("mlp",))
        if setting.only.get("arch") in (None, *arch):
            values.setdefault(recipe.title, value)
    values = values or {mode: setting.default}
    first, *others = values.items()
    told = [] if first[1] in (None, False) else [option_text(first[1])]
    different: dict[str, list[str]] = {}
    for title, value in others:
        if value != first[1]:
            different.setdefault(option_text(value), []).append(title)
    if first[1] is None and different:
        told = ["by layer" if setting.name == "init_std" else "none"]
    told += [f"{value} ({', '.join(titles)})" for value, titles in different.items()]
    return f" [default: {'; '.join(told)}]" if told else ""


class Numbers(click.ParamType):
    """Whole numbers with commas between, as a tuple."""

    name = "N,N,..."

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(
                f"{shortened(value, 100)!r}: expected whole numbers with commas between, as "
                "1000,1000"
            )


class Choice(click.Choice):
    """One of some texts, for which there may be other spellings, as {spelling: text}."""

    def __init__(self, choices: Sequence[str], also: dict[str, str]) -> None:
        super().__init__(choices)
        self.also = {**{choice.replace("_", "-"): choice for choice in choices}, **also}

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> str:
        return super().convert(self.also.get(value, value), param, ctx)


class Labels(click.ParamType):
    """``all``, ``none`` or a number of labelled images."""

    name = "labels"

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> Any:
        try:
            return int(value)
        except ValueError:
            # The Setting says what is wrong with it.
            return value


def option_run() -> Callable[..., Any]:
    """The argument RUN: the directory of a finished run."""
    return click.argument("run", type=click.Path(path_type=Path))


def option_place(
    what: str = "Where the run's {} are now, if they have been moved.", **images: Any
) -> Callable[..., Any]:
    """The options --images, --data-dir and --data of commands that read a run's data, or others.

    ``images``: what the first has that is not as of the others.
    """

    def decorate(function):
        for name, kind in reversed(PLACES.items()):
            own = {"metavar": "FILE|DIR" if name == "data" else "DIR", "help": what.format(kind)}
            own = {**own, **images} if name == "images" else own
            function = click.option(option_name(name), name, **own)(function)
        return function

    return decorate


def option_seed(what: str) -> Callable[..., Any]:
    """The option --seed of commands that draw something."""
    return click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help=what
    )


def option_jobs() -> Callable[..., Any]:
    """The option --jobs of commands that train several models."""
    return click.option(
        "--jobs",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Train so many at once, each in a process with its share of the cores. [default: one "
        "per core, if the memory is enough, as that makes better use of them than one after "
        "another with all]",
    )


def writable_file(
    path: PathLike, suffixes: Sequence[str], overwrite: bool, option: str = "out"
) -> Path:
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


@contextmanager
def progress_to(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """A function of how much is done, which moves a bar on a terminal, if there is one."""
    if not (sys.stderr and sys.stderr.isatty()):
        yield lambda done: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield lambda done: bar.update(done - bar.pos)
