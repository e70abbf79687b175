"""Make docs/api.md from the docstrings.

python docs/api.py > docs/api.md
"""

import enum
import importlib
import inspect
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

# (title, module, the names that count; none for all that are public and its own)
PARTS = (
    ("Train and load", "aae_mx", ("fit", "resume", "load", "Config", "StopTraining")),
    ("A trained model", "aae_mx.model", ("AAE",)),
    ("Data", "aae_mx.data", ("Dataset",)),
    (
        "Estimators",
        "aae_mx.estimators",
        ("AdversarialAutoencoder", "AAEClassifier", "AAEClusterer"),
    ),
    ("Priors", "aae_mx.priors", ()),
    ("Modes", "aae_mx.modes.mode", ("Mode", "Moves")),
    ("Figures", "aae_mx.report.figures", ("plot_run", "animate_run", "figures_every")),
    ("Drawing", "aae_mx.report.plotting", ()),
    ("Numbers", "aae_mx.report.evaluate", ("evaluate", "table")),
    ("Definitions of the numbers", "aae_mx.report.metrics", ()),
    ("Likelihood", "aae_mx.report.likelihood", ("likelihood",)),
    ("A page about a run", "aae_mx.report.page", ("page",)),
    ("Leaving MXNet", "aae_mx.export", ("export",)),
    ("Errors", "aae_mx.errors", ()),
)
# Signatures of more names than this are not shown: what they take has a page of its own.
MANY = 14


def document():
    """The text of the page."""
    lines = [
        "# The Python interface",
        "",
        "What is each function? Made from the docstrings by `python docs/api.py > docs/api.md`.",
        "The settings of `Config` and of the estimators are those of `train --help`,",
        "with underscores.",
    ]
    for title, name, names in PARTS:
        module = importlib.import_module(name)
        names = names or own_names(module)
        lines += ["", f"## {title}", "", f"`{name}`"]
        for name in names:
            lines += entry(name, getattr(module, name), "###")
    return "\n".join(lines) + "\n"


def own_names(module):
    """Public functions and classes that a module defines, in its order."""
    found = []
    for name, value in vars(module).items():
        mine = getattr(value, "__module__", None) == module.__name__
        if (
            not name.startswith("_")
            and mine
            and (inspect.isroutine(value) or inspect.isclass(value))
        ):
            found.append(name)
    return found


def entry(name, value, level):
    """Lines of a function or class, and of the methods of a class."""
    lines = ["", f"{level} {name}", ""]
    if not isinstance(value, property):
        lines += [f"    {name}{signature(value)}", ""]
    lines.append(text(value))
    if inspect.isclass(value) and not issubclass(value, (Exception, enum.Enum)):
        for method, what in vars(value).items():
            what = getattr(what, "__func__", what)
            told = inspect.isroutine(what) or isinstance(what, property)
            if not method.startswith("_") and told and inspect.getdoc(what):
                lines += entry(f"{name}.{method}", what, level + "#")
    return lines


def signature(value):
    """(a, b=1), without types, which editors show."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parameters = list(found.parameters.values())
    if len(parameters) > MANY:
        return "(**settings)"
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters if p.name != "self"]
    try:
        shown = str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    except ValueError:
        return ""
    # A default that is an object has an address.
    return re.sub(r"<[^<>]*>", "…", shown)


def text(value):
    """Its docstring, with the marks of reStructuredText as Markdown's."""
    found = inspect.getdoc(value) or ""
    found = found.replace("``", "`")
    # An example after "::" is indented already.
    found = re.sub(r"::$", ":", found, flags=re.MULTILINE)
    return found.replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(document())
