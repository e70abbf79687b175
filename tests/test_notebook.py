"""The bar in a notebook, in a kernel of its own and in a browser."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from conftest import SMALL, small_config
from test_callback import stop_at
from test_explore import browser  # noqa: F401 - a fixture

import aae_mx
from aae_mx.training import notebook

CELL = f"""
import aae_mx
model = aae_mx.fit(aae_mx.Config(**{ {**SMALL, "epochs": 4}!r}), "run")
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The outputs of the cell, the run, and how often the display was updated."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    updates = []

    class Client(client.NotebookClient):
        def process_message(self, message, cell, cell_index):
            updates.extend([1] * (message["msg_type"] == "update_display_data"))
            return super().process_message(message, cell, cell_index)

    path = tmp_path_factory.mktemp("notebook")
    made = nbformat.v4.new_notebook()
    made.cells = [nbformat.v4.new_code_cell(CELL)]
    Client(made, timeout=300).execute(cwd=str(path))
    return in_pieces(made.cells[0].outputs), path / "run", len(updates)


def in_pieces(outputs):
    """Outputs with what was printed in a row as one; a kernel sends it as it comes."""
    pieces = []
    for output in outputs:
        if pieces and output.output_type == pieces[-1].output_type == "stream":
            pieces[-1].text += output.text
        else:
            pieces.append(output)
    return pieces


@pytest.mark.slow
def test_a_bar_that_is_drawn_in_its_place(executed):
    (lines, bar), run, updates = executed
    # The two lines that say what is trained, then one display.
    assert lines.name == "stdout" and lines.text.count("\n") == 2
    assert lines.text.endswith("recipe: perceptrons without labels\n")
    assert bar.output_type == "display_data" and updates
    label, below = bar.data["text/plain"].split("\n")
    assert label.startswith("epoch 4/4  100%  ") and label.endswith("0:00 left")
    logged = (run / "train.log").read_text().splitlines()
    assert len(logged) == 6 and logged[-1].endswith(" " + below)
    html = bar.data["text/html"]
    assert 'value="1.0000"' in html and below in html and "epoch 3/4" not in html


def test_how_it_looks(executed, browser, tmp_path):  # noqa: F811 - the fixture
    """In one line, the last epoch's below it."""
    (_, bar), _, _ = executed
    page = browser.new_page()
    page.set_content(bar.data["text/html"])
    bar = page.locator("progress").bounding_box()
    whole = page.locator("div").bounding_box()
    assert bar["width"] > 100 and bar["height"] > 5
    assert whole["height"] < 5 * bar["height"]
    page.screenshot(path=tmp_path / "bar.png")
    page.close()


# Where there is no notebook, or one that fails.


def kernel(monkeypatch, display):
    """As if this process were a notebook's kernel whose display is this function, if any."""
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    module = SimpleNamespace(display=display) if display else None
    monkeypatch.setitem(sys.modules, "IPython.display", module)


def plain_lines(capsys):
    output = capsys.readouterr()
    assert output.err == ""
    return output.out.splitlines()


def test_no_ipython(monkeypatch, tmp_path, capsys):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert notebook.find_display() is None
    assert "IPython" not in sys.modules
    # In a terminal, and in a process where it was only imported.
    for shell in (SimpleNamespace(), SimpleNamespace(kernel=None), None):
        kernel(monkeypatch, print)
        sys.modules["IPython"].get_ipython = lambda shell=shell: shell
        assert notebook.find_display() is None
    kernel(monkeypatch, None)
    aae_mx.fit(small_config(), tmp_path / "run")
    assert ["epoch 1/2" in line for line in plain_lines(capsys)] == [False, False, True, False]


class Shown:
    """A display, and what stands there in the end."""

    def __init__(self):
        self.content, self.made = None, 0

    def __call__(self, content, raw, display_id):
        self.content, self.made = content["text/plain"], self.made + 1
        return self

    def update(self, content, raw):
        self.content = content["text/plain"]


def test_what_stopped_it_stands_below_the_bar(monkeypatch, tmp_path, capsys):
    kernel(monkeypatch, shown := Shown())
    aae_mx.fit(small_config(epochs=4), tmp_path / "run", callback=stop_at(2))
    label, below = shown.content.split("\n")
    assert label.startswith("epoch 2/4  50%") and below.startswith("epoch 2/4") and shown.made == 1
    assert plain_lines(capsys)[2:] == [
        "stopped by the callback after epoch 2, and saved; go on with: python -m aae_mx.train "
        f"--resume {tmp_path / 'run'}"
    ]
    # Going on, there is a bar of its own.
    aae_mx.resume(tmp_path / "run")
    assert shown.content.startswith("epoch 4/4  100%") and shown.made == 2


def test_a_quiet_training_shows_nothing_there_either(monkeypatch, tmp_path, capsys):
    kernel(monkeypatch, shown := Shown())
    aae_mx.fit(small_config(), tmp_path / "run", quiet=True)
    assert plain_lines(capsys) == [] and shown.content is None


def test_a_display_that_fails(monkeypatch, tmp_path, capsys):
    """The training goes on, with plain lines."""

    def fail(*arguments, **options):
        raise OSError("the browser has gone")

    kernel(monkeypatch, fail)
    aae_mx.fit(small_config(), tmp_path / "run")
    assert "epoch 2/2" in plain_lines(capsys)[-1]


def test_not_more_often_than_one_can_see(monkeypatch):
    shown, now = [], [100.0]
    monkeypatch.setattr(notebook.time, "monotonic", lambda: now[0])

    def display(data, raw, display_id=None):
        shown.append(data["text/plain"])
        return SimpleNamespace(update=display)

    bar = notebook.NotebookBar(display)
    for i in range(1000):
        now[0] += 0.001
        bar.show(f"epoch {i}", i / 1000, "<b>")
        bar.below("& so on")
    assert 5 <= len(shown) <= 15
    bar.draw()
    assert shown[-1] == "epoch 999  100%  <b>\n& so on"
    assert "&lt;b&gt;\n&amp; so on" in notebook._both("", 0, "<b>", "& so on")["text/html"]
    n = len(shown)
    bar.draw()
    assert len(shown) == n
