"""The post's whole set of figures and numbers, from nothing: what is missing is trained."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, Optional, Sequence

from aae_mx.config import Config
from aae_mx.modes.label_prior import FORMULATIONS, LabelPrior
from aae_mx.report.figures import plot_run, saved
from aae_mx.report.series import complete
from aae_mx.text import say

# (prior, labels) of the post's seven configurations, then the semi-supervised ones that the
# post announces but does not show; "some" stands for each number of the option --labelled.
CONFIGURATIONS = (
    ("gaussian", "none"),
    ("gaussian_mixture", "none"),
    ("swiss_roll", "none"),
    ("uniform", "none"),
    ("gaussian_mixture", "all"),
    ("swiss_roll", "all"),
    ("uniform", "all"),
    ("gaussian_mixture", "some"),
    ("swiss_roll", "some"),
)
# The one configuration whose decoded plane the post shows.
PLANE = ("gaussian_mixture", "all")
OVERVIEW, RESULTS = "overview.png", "results"
# What the original code reached in its 20 epochs, one run each, on 7,000 held-out images of its
# own split of MNIST: the BASELINE_METRICS of (prior, formulation).
BASELINE_METRICS = (
    "two_sample_accuracy",
    "sliced_wasserstein",
    "label_agreement",
    "neighbour_accuracy",
    "reconstruction_l2",
)
BASELINE = {
    ("gaussian", "unsupervised"): (0.531, 0.042, None, 0.819, 5.16),
    ("gaussian_mixture", "unsupervised"): (0.581, 0.064, None, 0.766, 5.42),
    ("swiss_roll", "unsupervised"): (0.956, 0.157, None, 0.387, 6.45),
    ("uniform", "unsupervised"): (0.570, 0.040, None, 0.804, 5.32),
    ("gaussian_mixture", "supervised"): (0.564, 0.062, 0.952, 0.962, 5.80),
    ("swiss_roll", "supervised"): (0.943, 0.109, 0.899, 0.908, 6.13),
    ("uniform", "supervised"): (0.604, 0.077, 0.922, 0.926, 6.08),
}


def configurations(labelled: Sequence[int], **settings: Any) -> list[Config]:
    """The Config of each of the CONFIGURATIONS, for each number of ``labelled`` images."""
    return [
        Config(prior=prior, labels=n, **settings)
        for prior, labels in CONFIGURATIONS
        for n in (dict.fromkeys(labelled) if labels == "some" else (labels,))
    ]


def draw_figures(
    configs: Sequence[Config],
    out: Path,
    seeds: int = 1,
    quiet: bool = False,
    jobs: Optional[int] = None,
) -> None:
    """Train what is missing of ``configs`` under ``out``/runs and draw their figures in ``out``.

    With ``seeds`` above 1 each is trained with so many seeds, from its own on; the figures show
    the first, the numbers are means. ``jobs``: so many trainings at once, None as is soonest done.
    Raises as ``series.complete``.
    """
    from aae_mx.files import write_aside
    from aae_mx.model import load

    trainings = {
        _directory(config, n, out): config.replace(seed=config.seed + n)
        for n in range(seeds)
        for config in configs
    }
    dataset, trained = complete(trainings, out, quiet, jobs)
    for config in configs:
        run = _directory(config, 0, out)
        files = {out / name: figure for name, figure in shown(config).items()}
        if run in trained or not all(file.exists() for file in files):
            drawn = plot_run(load(run), dataset=dataset, quiet=quiet)
            for file, figure in files.items():
                image = (drawn / f"{figure}.png").read_bytes()
                write_aside(file, lambda aside, image=image: aside.write(image))
    _overview(configs, out)
    _results(configs, out, seeds, dataset)
    if not quiet:
        say(f"figures: {out}")


def _directory(config, n, out):
    """The run of the ``n``-th seed of a configuration."""
    return out / "runs" / (config.name + f"_seed_{config.seed + n}" * (n > 0))


def shown(config: Config) -> dict[str, str]:
    """The figures of a configuration that the post shows, {file: figure of a run}."""
    plane = (config.prior, config.labels) == PLANE
    figures = ("pz", "qz", "output") if plane else ("pz", "qz")
    return {f"{config.name}_{figure}.png": figure for figure in figures}


def _overview(configs, out):
    """One sheet of every configuration's q(z) beside its p(z), three pairs to a row."""
    from aae_mx.report.canvas import matplotlib

    rows = -(-len(configs) // 3)
    with saved(out / OVERVIEW, width=15, height=2.7 * rows, rows=rows, columns=6) as axes:
        for ax in axes.flat:
            ax.set_axis_off()
        for pair, config in zip(axes.reshape(-1, 2), configs):
            for ax, figure in zip(pair, ("qz", "pz")):
                ax.imshow(matplotlib.image.imread(out / f"{config.name}_{figure}.png"))
            pair[0].set_title(config.name.replace("_", " "), fontsize="medium", loc="left")


def _results(configs, out, seeds, dataset):
    """The metrics of every run beside the baseline's: all as CSV, the means as Markdown."""
    from aae_mx.files import write_aside
    from aae_mx.model import load
    from aae_mx.report.evaluate import METRICS, evaluate, make_judge, metrics_of, show
    from aae_mx.runs.history import read_history

    judge, metrics = make_judge(dataset), metrics_of(LabelPrior)
    names = ["prior", "formulation", "labels", "seed", "epochs", "minutes", "images"]
    csv = [[*names, *metrics, *(f"baseline_{name}" for name in BASELINE_METRICS)]]
    lines = [["run", "epochs, time", *(name.replace("_", " ") for name in metrics)]]
    lines.append(["---"] * len(lines[0]))
    for config in configs:
        key = (config.prior, FORMULATIONS[config.labels_kind])
        missing = (None,) * len(BASELINE_METRICS)
        baseline = dict(zip(BASELINE_METRICS, BASELINE.get(key, missing)))
        times, measured = [], []
        for n in range(seeds):
            run = _directory(config, n, out)
            times.append(sum(read_history(run)["seconds"]) / 60)
            # The same prior samples for all, so that seeds differ in what was trained only.
            result = evaluate(load(run), seed=config.seed, dataset=dataset, judge=judge)
            measured.append(result["metrics"])
            described = [*key, config.labels, config.seed + n, config.epochs]
            described += [f"{times[-1]:.1f}", result["images"]]
            numbers = [*measured[-1].values(), *baseline.values()]
            csv.append([*described, *(show(number, "{:.4f}", none="") for number in numbers)])
        cells = [
            _mean([of_run[name] for of_run in measured], form)
            + (f" ({form.format(baseline[name])})" if baseline.get(name) is not None else "")
            for name, form in ((name, METRICS[name][1]) for name in metrics)
        ]
        time = f"{config.epochs}, {statistics.mean(times):.1f} min"
        lines.append([config.name.replace("_", " "), time, *cells])
    of_seeds = f"seed {config.seed}"
    if seeds > 1:
        of_seeds = f"means ± standard deviations of seeds {config.seed} to {config.seed + n}"
    head = (
        f"Measured by `python -m aae_mx.evaluate` on {result['images']:,} held-out images, "
        f"{of_seeds}. In brackets: the original code after 20 epochs, on a split of its own."
    )
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = {
        "md": f"{head}\n\n{table}\n",
        "csv": "\n".join(",".join(map(str, line)) for line in csv) + "\n",
    }
    for suffix, content in text.items():
        file = out / f"{RESULTS}.{suffix}"
        write_aside(file, lambda aside, content=content: aside.write(content.encode()))


def _mean(values, form):
    """The mean of a metric over seeds and, of several, its standard deviation."""
    if None in values:
        return "–"
    spread = f" ± {form.format(statistics.stdev(values))}" if len(values) > 1 else ""
    return form.format(statistics.mean(values)) + spread
