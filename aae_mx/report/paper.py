"""The paper's experiments and their numbers, ours beside the paper's."""

from __future__ import annotations

import csv
import dataclasses
import io
import statistics
from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np

from aae_mx.config import Config
from aae_mx.errors import ConfigError
from aae_mx.report import metrics, plotting
from aae_mx.report.evaluate import METRICS
from aae_mx.report.figures import plot_run, saved
from aae_mx.report.likelihood import N_VALIDATION
from aae_mx.report.series import complete
from aae_mx.settings import as_options
from aae_mx.text import say

RESULTS, EMBEDDINGS = "results", "section_7_embeddings.png"
# What --quick trains with.
QUICK = {"limit": 2000, "epochs": 2}
# Images for t-SNE, which takes minutes for more.
N_EMBEDDED = 10_000


# 50,000 images are trained on, as in the paper; on the others of the 60,000 choices are made, and
# they give clusters their names. The 10,000 held-out images are for the number alone.
PROTOCOL = {"validation": 10_000}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A row of the table. ``settings``: of a Config. ``numbers``: {metric: that of the paper}.

    ``figures``: those of a run that are shown.
    """

    section: str
    what: str
    settings: dict
    numbers: dict
    figures: tuple = ()

    def config(self, seed: int, **changes: Any) -> Config:
        settings = {**PROTOCOL, **self.settings, "seed": seed, **changes}
        if "decoder_epochs" in settings:
            # Of few epochs half.
            settings["decoder_epochs"] = min(settings["decoder_epochs"], settings["epochs"] // 2)
        return Config(**settings)


def _classified(labels, error, paper_error):
    """With our recipe, and with what is known of the paper's."""
    settings = {"mode": "classification", "labels": labels}
    text = f"{labels:,} labels" if isinstance(labels, int) else "all labels"
    figures = ("styles", "confusion")
    return (
        Experiment("5", text, settings, {"test_error": error}, figures),
        Experiment(
            "5",
            f"{text}, recipe paper, 50 epochs",
            {**settings, "recipe": "paper"},
            {"test_error": paper_error},
        ),
    )


def _clustered(n, error, metric="cluster_error"):
    settings = {"mode": "clustering", "clusters": n}
    return Experiment("6", f"{n} clusters", settings, {metric: error}, ("clusters",))


def _reduced(what, error, metric="test_error", **settings):
    settings = {"mode": "reduction", **settings}
    return Experiment("7", what, settings, {metric: error, "neighbour_accuracy": None}, ("qz",))


# None: the paper has no number. Errors are shares; docs/paper.md says where numbers are from.
EXPERIMENTS = (
    Experiment(
        "2.3",
        "10,000 of 50,000 labels, mixture",
        {"prior": "gaussian_mixture", "labels": 10_000},
        {"label_agreement": None},
        ("qz", "walks"),
    ),
    Experiment(
        "2.3",
        "10,000 of 50,000 labels, swiss roll",
        {"prior": "swiss_roll", "labels": 10_000},
        {"label_agreement": None},
        ("qz", "walks"),
    ),
    Experiment(
        "3",
        "8-D code of standard deviation 5",
        {
            **{"code_dim": 8, "prior_std": 5.0},
            # The best on the validation images, see docs/paper.md. Then these are trained on, too,
            # but for those that choose the width of the window.
            **{"hidden_noise": 2.0, "image_warp": 0.05, "image_bend": 0.05, "epochs": 90},
            **{"decoder_epochs": 5, "decoder_noise": 1.2, "validation": N_VALIDATION},
        },
        {"log_density": 340.0},
        ("samples",),
    ),
    Experiment(
        "4",
        "style",
        {"mode": "style"},
        {"linear_accuracy": None, "sample_accuracy": None},
        ("styles",),
    ),
    *_classified(100, 0.0190, 0.0340),
    *_classified(1000, 0.0160, 0.0240),
    *_classified("all", 0.0085, 0.0125),
    _clustered(30, 0.0410),
    _clustered(16, 0.0955),
    _clustered(10, None, "matched_error"),
    _reduced("2-D, 1,000 labels", 0.0420, labels=1000),
    _reduced("2-D, 100 labels", 0.0608, labels=100),
    _reduced("2-D, 20 clusters", 0.1395, "cluster_error", clusters=20),
    _reduced("10-D, 100 labels", 0.0390, labels=100, code_dim=10, fixed_heads=True),
)
SECTIONS = tuple(dict.fromkeys(experiment.section for experiment in EXPERIMENTS))
# How the numbers are called and shown: as by evaluate, and the likelihood.
SHOWN = {**METRICS, "log_density": ("log-density, nats", "{:.1f}")}


def reproduce(
    out: Path,
    only: Sequence[str] = SECTIONS,
    seeds: int = 3,
    quick: bool = False,
    samples: int = 10_000,
    jobs: Optional[int] = None,
    quiet: bool = False,
) -> None:
    """Train what is missing of the paper's experiments under ``out``/runs, and write the table.

    ``only``: sections, of SECTIONS. Each is trained with ``seeds`` seeds. ``quick``: with 2,000
    images and two epochs, to see that it works. ``samples``: of section 3. ``jobs``: trainings at
    once, None as is soonest done. Raises ConfigError for a section that there is not, and as
    ``series.complete``.
    """
    for section in only:
        if section not in SECTIONS:
            raise ConfigError("only", section, f"expected some of {', '.join(SECTIONS)}")
    changes = QUICK if quick else {}
    rows = [
        (
            experiment,
            [experiment.config(seed, **_small(experiment, changes)) for seed in range(seeds)],
        )
        for experiment in EXPERIMENTS
        if experiment.section in only
    ]
    trainings = {directory(config, out): config for _, configs in rows for config in configs}
    dataset, trained = complete(trainings, out, quiet, jobs)
    for experiment, (config, *_) in rows:
        _figures(experiment, directory(config, out), out, trained, dataset)
    lines, every = _measured(rows, out, dataset, samples, quiet)
    if "7" in only:
        lines += _embedded(rows, out, dataset, 1000 if quick else N_EMBEDDED)
    _write(lines, every, out, len(dataset.test_images))
    if not quiet:
        say(f"numbers and figures: {out}")


def directory(config: Config, out: Path) -> Path:
    """Where the run of a config is."""
    paper = "_paper" if config.recipe == "paper" else ""
    return out / "runs" / f"{config.name}{paper}_seed_{config.seed}"


def _small(experiment, changes):
    """The changes of --quick, with as many images kept out and labelled as that allows."""
    small = dict(changes)
    for name, value in {**PROTOCOL, **experiment.settings}.items():
        if small and name in ("validation", "labels") and isinstance(value, int):
            small[name] = min(value, 500)
    return small


def _figures(experiment, run, out, trained, dataset):
    from aae_mx.files import write_aside
    from aae_mx.model import load

    files = {
        out / f"section_{experiment.section}_{run.name}_{f}.png": f for f in experiment.figures
    }
    if run in trained or not all(file.exists() for file in files):
        drawn = plot_run(load(run), dataset=dataset, quiet=True) if files else None
        for file, figure in files.items():
            image = (drawn / f"{figure}.png").read_bytes()
            write_aside(file, lambda aside, image=image: aside.write(image))


def _measured(rows, out, dataset, samples, quiet):
    """The lines of the table, and of the CSV file."""
    from aae_mx.model import load
    from aae_mx.report.evaluate import evaluate, make_judge
    from aae_mx.report.likelihood import likelihood
    from aae_mx.runs.history import read_history

    judge = make_judge(dataset)
    lines = [
        ["section", "experiment", "number", "paper", "ours", "each seed", "minutes", "options"]
    ]
    every = [["section", "experiment", "seed", "number", "value", "paper", "minutes", "options"]]
    for experiment, configs in rows:
        found, minutes = [], []
        for config in configs:
            run = directory(config, out)
            if not quiet:
                say(f"{run}: measuring")
            model = load(run)
            numbers = evaluate(model, dataset=dataset, judge=judge)["metrics"]
            if "log_density" in experiment.numbers:
                numbers.update(likelihood(model, dataset, samples))
            found.append(numbers)
            minutes.append(sum(read_history(run)["seconds"]) / 60)
        options = as_options({n: v for n, v in configs[0].given.items() if n != "seed"})
        for name, paper in experiment.numbers.items():
            title, form = SHOWN[name]
            values = [numbers[name] for numbers in found]
            paper = "–" if paper is None else form.format(paper)
            lines.append(
                [
                    *(experiment.section, experiment.what, title, paper, _mean(values, form)),
                    ", ".join(map(form.format, values)),
                    f"{statistics.mean(minutes):.1f}",
                    f"`{options}`",
                ]
            )
            for config, value, time in zip(configs, values, minutes):
                every.append(
                    [
                        *(experiment.section, experiment.what, config.seed, name),
                        *(f"{value:.6g}", paper, f"{time:.1f}", options),
                    ]
                )
    return lines, every


def _mean(values, form):
    spread = f" ± {form.format(statistics.stdev(values))}" if len(values) > 1 else ""
    return form.format(statistics.mean(values)) + spread


def _embedded(rows, out, dataset, n):
    """Lines of scikit-learn's PCA and t-SNE of the held-out images, and the figure with ours."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    from aae_mx.data import to_unit
    from aae_mx.model import load

    images, labels = (part[:n] for part in dataset.split("test"))
    pixels = to_unit(images)
    # t-SNE sees the first 50 components, as its authors do.
    components = PCA(50, random_state=0).fit_transform(pixels)
    planes = {"PCA": components[:, :2], "t-SNE": TSNE(random_state=0).fit_transform(components)}
    lines = [
        [
            *("7", f"scikit-learn's {name}, 2-D, no labels", SHOWN["neighbour_accuracy"][0], "–"),
            f"{metrics.neighbour_accuracy(points, labels):.3f}",
            *("", "", ""),
        ]
        for name, points in planes.items()
    ]
    for experiment, (config, *_) in rows:
        if experiment.section == "7" and config.code_dim == 2:
            planes[experiment.what] = load(directory(config, out)).encode(images)
    columns = len(planes)
    with saved(out / EMBEDDINGS, width=5 * columns, height=5.2, columns=columns) as axes:
        for ax, (name, points) in zip(np.atleast_1d(axes), planes.items()):
            plotting.scatter_codes(points, labels, dataset.classes, name, ax=ax)
    return lines


def _write(lines, every, out, n):
    from aae_mx.files import write_aside

    head = (
        f"Measured on {n:,} held-out images of MNIST; mean ± standard deviation over the seeds. "
        "Each line: `python -m aae_mx.train` with the options in the last column and `--seed`."
    )
    table = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    rows = io.StringIO()
    csv.writer(rows, lineterminator="\n").writerows(every)
    text = {
        "md": f"{head}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in table) + "\n",
        "csv": rows.getvalue(),
    }
    for suffix, content in text.items():
        file = out / f"{RESULTS}.{suffix}"
        write_aside(file, lambda aside, content=content: aside.write(content.encode()))
