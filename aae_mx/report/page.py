"""One HTML page about a run, which holds all that it shows: settings, curves, figures, numbers.

Texts of a run may come from a stranger, so each is escaped. The template is page.html.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
import string
from pathlib import Path

import numpy as np

from aae_mx import modes
from aae_mx.config import Config
from aae_mx.errors import ConfigError, InputError, option_name, option_text
from aae_mx.hints import AAE, Dataset
from aae_mx.report import plotting
from aae_mx.report.evaluate import evaluate, remarks, rows, show
from aae_mx.report.figures import (
    Looks,
    Scene,
    encoded,
    figure_of,
    new_figure,
    say_what_is_lacking,
)
from aae_mx.settings import as_options
from aae_mx.text import printable

TEMPLATE = Path(__file__).parent / "page.html"
CURVES = "losses"
# {figure: (what who cannot see it should know, what it says)}; {What} are such as are held out.
WHAT = {
    "pz": ("Scatter plot of samples of the prior", "The prior p(z), to which codes are pushed."),
    "qz": ("Scatter plot of codes", "q(z): the codes of training images, a colour for each class."),
    "output": ("Sheet of decoded images", "The plane of codes, decoded step by step."),
    "reconstructions": (
        "Sheet of pairs of images",
        "{What} images, each with its reconstruction on its right.",
    ),
    "samples": ("Sheet of decoded images", "Samples of the prior, decoded."),
    "interpolations": (
        "Rows of images that change into one another",
        "From a {what} image (left) to another (right), by the line between their codes.",
    ),
    "walks": (
        "Rows of decoded images that change slowly",
        "Along the axis of each piece of the prior.",
    ),
    "styles": ("Sheet of decoded images", "A row has one style z, a column one kind y."),
    "clusters": (
        "Rows of images, one for each cluster",
        "Of each cluster the head, decoded from z = 0, then images that it has.",
    ),
    "confusion": (
        "Matrix of classes by what they are taken for",
        "How often images of each class (rows) are taken for each (columns), in per cent.",
    ),
}
# What differs where the data are rows of features.
WHAT_OF_ROWS = {
    "qz": ("Scatter plot of codes", "q(z): the codes of training rows, a colour for each class."),
    "output": ("Maps of features", "What the plane of codes is decoded to, feature by feature."),
    "reconstructions": (
        "Two tables of colours, a line for each row",
        "{What} rows, and beside them their reconstructions.",
    ),
    "samples": ("Table of colours, a line for each sample", "Samples of the prior, decoded."),
    "clusters": (
        "Table of colours, a line for each cluster",
        "The head of each cluster, decoded from z = 0.",
    ),
    "confusion": (WHAT["confusion"][0], WHAT["confusion"][1].replace("images", "rows")),
}


def page(model: AAE, dataset: Dataset, seed: int = 0) -> str:
    """The HTML of a report of a trained model; ``dataset`` is the one that it was trained on.

    The same run and ``seed`` give the same text. A figure that cannot be drawn, and numbers of
    too few images, are replaced by the reason. Raises InputError for a history that is damaged.
    """
    scene = Scene(model, dataset, seed)
    template = TEMPLATE.read_text("utf-8")
    style = template.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    name = Path(str(model.run)).resolve().name
    text = string.Template(template).substitute(
        digest=f"sha256-{digest}",
        title=_text(model.title.replace("_", " ")),
        about=_text(f"{name}. {_sentence(modes.find(model.config.mode).summary)}"),
        facts=_table(_facts(scene), label="The run"),
        command=" ".join(f"<span>{_text(part)}</span>" for part in command(model.config)),
        settings=_settings(model.config),
        numbers=_numbers(model, dataset, seed),
        curves="\n".join(_curves(scene)),
        figures="\n".join(_figure(scene, n) for n in model.mode.figures if n != CURVES),
    )
    say_what_is_lacking((*model.classes, *model.mode.kinds))
    return text


def command(config: Config) -> list[str]:
    """The command that trains a run of a Config again, in parts that stay together."""
    settings = {name: value for name, value in config.given.items() if value is not None}
    try:
        # Recipes change: what they would decide otherwise today is told, too.
        today = Config(**settings).to_dict()
        differs = {n: v for n, v in config.to_dict().items() if today.get(n, v) != v}
        settings = {**settings, **differs}
        told = None not in settings.values() and Config(**settings) == config
    except ConfigError:
        told = False
    options = as_options(settings) if told else "--config config.json"
    own = (modes.find(config.mode), type(config.prior_object))
    plugin = (
        "" if all(kind.__module__.startswith("aae_mx.") for kind in own) else "--plugin FILE.py"
    )
    text = " ".join(filter(None, ["python -m aae_mx.train", plugin, options]))
    return re.split(" (?=--)", text)


def _facts(scene):
    from aae_mx.networks.build import n_weights
    from aae_mx.runs.directory import read_description

    model, data = scene.model, scene.dataset
    seconds = scene.history.get("seconds", [])
    kept = model.config.validation
    images = f"{len(data.train_images) - kept:,} for training, {len(data.test_images):,} held out"
    shape = " × ".join(map(str, model.image_shape))
    return [
        ("version", f"aae_mx {read_description(model.run).get('version', '–')}"),
        ("epochs", f"{model.epoch} of {model.config.epochs}"),
        ("time of training", f"{np.sum(seconds):,.0f} s" if seconds else "–"),
        ("weights", f"{n_weights(model.networks):,}"),
        (scene.noun, images + (f", {kept:,} for validation" if kept else "")),
        ("features" if scene.noun == "rows" else "size of an image", shape),
        ("classes", f"{len(model.classes):,}" if model.classes else "none"),
        ("recipe", model.config.recipe_entry.title),
    ]


def _settings(config):
    """What was given, and the rest folded away."""

    def table(settings, label):
        told = [(option_name(n), _value(value)) for n, value in settings.items()]
        return _table(told, label=label)

    given = {name: config.to_dict()[name] for name in config.given}
    rest = {name: value for name, value in config.to_dict().items() if name not in given}
    shown = table(given, "Settings that were given") if given else "<p>None was given.</p>"
    return (
        f"{shown}\n<details>\n<summary>The other {len(rest)}, of the recipe or by default</summary>"
        f"\n{table(rest, 'The other settings')}\n</details>"
    )


def _value(value):
    if value is None:
        return "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else option_text(value)


def _numbers(model, dataset, seed):
    try:
        numbers = evaluate(model, seed=seed, dataset=dataset)
    except InputError as error:
        return f"<p>{_text(str(error).replace(f'{model.run}: ', ''))}</p>"
    (_, *head), *lines = rows([{"run": "this run", **numbers}])
    parts = [
        f"<p>On {numbers['images']:,} {numbers['split']} {model.noun}; the last column has what a "
        "perfect model would reach.</p>",
        _table(lines, ("", *head), "Numbers", "numbers"),
        *(f"<p>{_text(remark)}</p>" for remark in remarks([numbers])),
    ]
    errors = numbers.get("class_errors")
    if errors:
        lines = [(name, show(error, "{:.1%}")) for name, error in errors.items()]
        parts += ["<h3>Errors by class</h3>", _table(lines, ("class", "told wrong"), "", "numbers")]
    return "\n".join(parts)


def _curves(scene):
    """A picture for each panel of the losses, so that they fit any screen."""
    for label, columns in plotting.loss_panels(scene.history).items():
        history = {name: scene.history[name] for name in ("epoch", *columns)}

        def draw(ax, history=history):
            plotting.loss_curves(history, np.atleast_1d(ax))

        alt = f"Curves by epoch of the {label}: {', '.join(columns.values())}"
        yield _picture(draw, {"width": 5, "height": 4}, alt)


def _figure(scene, name):
    texts = {**WHAT, **WHAT_OF_ROWS} if scene.noun == "rows" else WHAT
    alt, caption = texts.get(name, (f"The figure {name}", ""))
    what = (scene.unseen(0) if scene.noun == "rows" else scene.originals).what
    caption = caption.format(what=what, What=what.capitalize())
    draw, size = figure_of(scene, name)
    if draw is None:
        return f"<p>{_text(f'No {name}: {size}.')}</p>"
    return _picture(draw, size, alt, caption)


def _picture(draw, size, alt, caption=""):
    try:
        figure, axes = new_figure(**size)
        draw(axes)
        png = encoded(figure, Looks())
    except Exception as error:  # noqa: B902 - the rest is shown, whatever it is
        why = " ".join(str(error).split()) or type(error).__name__
        return f"<p>{_text(f'{alt}: could not be drawn ({why}).')}</p>"
    # They stand in a PNG's first chunk.
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    shown = f"\n<figcaption>{_text(caption)}</figcaption>" * bool(caption)
    return (
        f'<figure>\n<img src="{source}" width="{width}" height="{height}" alt="{_text(alt)}">'
        f"{shown}\n</figure>"
    )


def _table(lines, head=None, label="", kind=""):
    """Lines of texts in a box that scrolls; the first of each is its heading."""
    first = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in head or ())
    body = "\n".join(
        f'<tr><th scope="row">{_text(line[0])}</th>'
        + "".join(f"<td>{_text(cell)}</td>" for cell in line[1:])
        + "</tr>"
        for line in lines
    )
    return (
        f'<div class="box" role="region" tabindex="0" aria-label="{_text(label or head[0])}">\n'
        f'<table class="{kind}">\n{f"<thead><tr>{first}</tr></thead>" * bool(head)}\n'
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _sentence(text):
    return f"{text[:1].upper()}{text[1:]}."


def _text(text):
    """A text of anybody as HTML."""
    return html.escape(printable(str(text)))
