"""The report of a run: one page with everything, for anybody's eyes."""

import base64
import dataclasses
import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import small_config
from test_explore import browser  # noqa: F401 - a fixture

import aae_mx
from aae_mx.commands import report, train
from aae_mx.config import Config
from aae_mx.data import load_dataset
from aae_mx.errors import InputError
from aae_mx.model import load_data
from aae_mx.report import figures as run_figures
from aae_mx.report import page as reported
from aae_mx.report import plotting
from aae_mx.report.evaluate import evaluate, rows

# What a stranger may call a class, and what a page must show of it.
HOSTILE = {
    "<script>alert(1)</script>": "&lt;script&gt;alert(1)&lt;/script&gt;",
    '"><img src=x onerror=alert(1)>': "&quot;&gt;&lt;img src=x onerror=alert(1)&gt;",
    "</table></div><!--": "&lt;/table&gt;&lt;/div&gt;&lt;!--",
    "&lt;b&gt;": "&amp;lt;b&amp;gt;",
    "$title ${facts} $": "$title ${facts} $",
    "line\nbreak\x1b[2J": "line\\nbreak\\x1b[2J",
    "caf\udce9": "caf\\xe9",
    "x" * 300: "x" * 300,
    "猫": "猫",
    "": "",
}


class Elements(HTMLParser):
    """The elements of a page, [(tag, attributes)], and its texts; each must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def classified_run(tmp_path_factory):
    """A run that classifies, with the classes of a stranger and a name that goes with them."""
    path = tmp_path_factory.mktemp("runs") / "<img src=x onerror=alert(1)>"
    config = small_config(mode="classification", labels=100, hidden=(32,), epochs=1)
    aae_mx.fit(config, path, quiet=True)
    file = path / "config.json"
    described = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**described, "classes": list(HOSTILE)}))
    return path


def hostile_data(model):
    """The data of ``classified_run``, which have the same names."""
    return dataclasses.replace(load_dataset(model.config), classes=model.classes)


@pytest.fixture(scope="module")
def hostile_page(classified_run):
    model = aae_mx.load(classified_run)
    return reported.page(model, hostile_data(model))


def test_command(monkeypatch, call, refused, supervised_run, tmp_path):
    measured = []

    def measure(*arguments, **more):
        measured.append(evaluate(*arguments, **more))
        return measured[0]

    monkeypatch.setattr(reported, "evaluate", measure)
    out = tmp_path / "about.html"
    status, output = call(report.main, supervised_run, "--out", out)
    assert status == 0 and re.fullmatch(r".*about\.html: \d\.\d MB\n", output), output
    text = out.read_text("utf-8")
    found = Elements(text)
    assert "--prior swiss_roll" in text
    model = aae_mx.load(supervised_run)
    # Everything is in it: a picture of each figure and panel of the curves, each with a text.
    pictures = found.all("img")
    assert len(pictures) == len(model.mode.figures) - 1 + 3
    for picture in pictures:
        kind, content = picture["src"].split(",")
        assert kind == "data:image/png;base64" and len(picture["alt"]) > 15
        assert base64.b64decode(content)[16:20] == int(picture["width"]).to_bytes(4, "big")
    # The numbers are those of evaluate, with its last column.
    (_, *head), *lines = rows([{"run": "this run", **measured[0]}])
    cells = [text for text in found.texts if text.strip()]
    for name, *numbers in lines:
        at = cells.index(name)
        assert cells[at + 1 : at + 3] == numbers and len(numbers) == 2, name
    assert head == ["this run", "ideal"] and "300 held-out images" in text
    weights = sum(array.size for array in model.weights().values())
    for fact in (f"aae_mx {aae_mx.__version__}", "2 of 2", f"{weights:,}", "28 × 28"):
        assert fact in cells
    # Given settings come first, the others are folded away; each is there once.
    shown, folded = text.split("<details>")
    for name in model.config.to_dict():
        cell = f'<th scope="row">--{name.replace("_", "-")}</th>'
        assert (cell in shown, cell in folded) == (
            name in model.config.given,
            name not in model.config.given,
        )
    assert "Errors by class" not in text
    assert "the file exists; add --overwrite" in refused(
        report.main, supervised_run, "--out", out, code=2
    )
    monkeypatch.setattr(reported, "page", lambda *arguments: "another")
    assert call(report.main, supervised_run, "--out", out, "--overwrite")[0] == 0
    assert out.read_text("utf-8") == "another"
    assert [path.name for path in tmp_path.iterdir()] == ["about.html"]


def test_refused(refused, supervised_run, tmp_path):
    assert "ends in .html" in refused(report.main, supervised_run, "--out", "a.txt", code=2)
    assert "no run here" in refused(report.main, tmp_path / "nowhere", code=1)
    shutil.copytree(supervised_run, tmp_path / "run")
    (tmp_path / "run/report.html").write_text("mine")
    assert "the file exists; add --overwrite" in refused(report.main, tmp_path / "run", code=2)
    assert (tmp_path / "run/report.html").read_text() == "mine"


@pytest.mark.slow
def test_the_same_run_is_the_same_page(classified_run, hostile_page):
    model = aae_mx.load(classified_run)
    assert reported.page(model, hostile_data(model)) == hostile_page


def test_names_of_strangers(hostile_page):
    found = Elements(hostile_page)
    assert not found.all("script") and not found.all("b")
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert all(picture["src"].startswith("data:image/png;") for picture in found.all("img"))
    assert not any({"href", "style"} & set(attributes) for _, attributes in found.elements)
    for shown in HOSTILE.values():
        assert f'<th scope="row">{shown}</th>' in hostile_page
    assert "&lt;img src=x onerror=alert(1)&gt;. What an image is" in hostile_page
    errors = hostile_page.split("Errors by class")[1].split("</section>")[0]
    assert len(re.findall(r"<td>\d+\.\d%</td>", errors)) == 10
    policy = next(
        meta["content"] for meta in found.all("meta") if "content" in meta and ";" in str(meta)
    )
    assert "default-src 'none'" in policy and "script-src" not in policy


def test_what_cannot_be_drawn_or_measured(monkeypatch, unsupervised_run):
    def fail(*arguments, **more):
        raise InputError("<b>no\nplane")

    monkeypatch.setattr(plotting, "show_plane", fail)
    monkeypatch.setattr(reported, "evaluate", fail)
    model = aae_mx.load(unsupervised_run)
    text = reported.page(model, load_data(model))
    assert "<p>Sheet of decoded images: could not be drawn (&lt;b&gt;no plane).</p>" in text
    assert "<p>&lt;b&gt;no\\nplane</p>" in text
    assert len(Elements(text).all("img")) == len(model.mode.figures) - 2 + 3


def test_every_figure_has_a_text():
    assert set(reported.WHAT) == set(run_figures.FIGURES) - {reported.CURVES}


def test_the_template_is_installed():
    package = Path(aae_mx.__file__).parent
    name = reported.TEMPLATE.relative_to(package).as_posix()
    assert f'"{name}"' in (package.parent / "setup.py").read_text("utf-8")


# The command that makes a run again.


def trained_by(call, monkeypatch, command):
    """The Config that a command would train."""
    found = []

    def fit(config, *arguments, **options):
        found.append(config)
        raise InputError("enough")

    monkeypatch.setattr("aae_mx.training.loop.fit", fit)
    python, _, module, *options = shlex.split(command)
    assert (python, module) == ("python", "aae_mx.train")
    call(train.main, *options)
    return found[0]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prior": "swiss_roll", "labels": "all", "hidden": (32, 16), "roll_turns": 3.0, "seed": 7},
        {"mode": "style", "label_discriminator": False, "validation": 10},
        {"mode": "classification", "labels": 100, "recipe": "paper"},
        {"data_dir": "/it's here/$HOME `x` --labels", "transpose": True},
    ],
)
def test_the_command_makes_the_run_again(call, monkeypatch, settings):
    config = Config(**settings)
    assert trained_by(call, monkeypatch, " ".join(reported.command(config))) == config


def test_the_command_of_a_recipe_that_has_changed(call, monkeypatch):
    settings = {**Config().to_dict(), "generator_rate": 0.123}
    old = Config.from_dict(settings, ["epochs"])
    text = " ".join(reported.command(old))
    assert "--generator-rate 0.123" in text and "--clip" not in text
    assert trained_by(call, monkeypatch, text) == old


def test_what_no_option_can_say():
    config = Config(recipe="reference", init_std=None)
    assert reported.command(config) == ["python -m aae_mx.train", "--config config.json"]


def test_a_prior_of_ones_own():
    from dataclasses import dataclass

    @dataclass
    class Dot(aae_mx.priors.Prior):
        name = "dot"

        def draw(self, n, rng, code_dim, labels, n_labels):
            return rng.random((n, code_dim))

    try:
        assert reported.command(Config(prior=Dot()))[1] == "--plugin FILE.py"
    finally:
        del aae_mx.priors.PRIORS["dot"]


# In Chromium.


@pytest.mark.parametrize("width", [1280, 375])
def test_in_a_browser(browser, hostile_page, tmp_path, width):  # noqa: F811 - the fixture
    file, wrong = tmp_path / "report.html", []
    file.write_text(hostile_page, "utf-8")
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda r: r.url.startswith(("data:", "file:")) or wrong.append(r.url))
    page.goto(file.as_uri())
    folded = page.locator("details table")
    assert not folded.is_visible()
    page.locator("summary").click()
    assert folded.is_visible()
    # The page itself never scrolls sideways, whatever a class is called; pictures fit.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shown = page.evaluate(
        """[...document.images].map(image => [image.complete && image.naturalWidth,
          image.getBoundingClientRect().right, image.alt.length])"""
    )
    assert len(shown) > 8
    assert all(natural > 0 and right <= width and alt > 15 for natural, right, alt in shown)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 22)"
    page.close()
    assert not wrong
