import json
import re
import shutil
import time

import numpy as np
import pytest
from conftest import small_config

import aae_mx.model
from aae_mx.commands import explore
from aae_mx.config import ACTIVATIONS
from aae_mx.data import Dataset, load_dataset, scale
from aae_mx.errors import ConfigError
from aae_mx.explore import page as explored
from aae_mx.report import plotting

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()


def untrained(image_shape=(6, 5), classes="abc", **settings):
    """A model whose images differ much from place to place, and a dataset of 40 images."""
    model = aae_mx.model.AAE(
        small_config(**{"init_std": 0.5, "hidden": (20, 12), **settings}), image_shape, classes
    )
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(40, *image_shape)).astype(np.uint8)
    labels = np.arange(40) % len(classes)
    return model, Dataset(images, labels, images, labels, tuple(classes))


# The file.


def test_command(call, refused, supervised_run, tmp_path):
    out = tmp_path / "plane.html"
    status, output = call(explore.main, supervised_run, "--out", out)
    assert status == 0 and "300 of 300 held-out images" in output, output
    assert "weights in half precision" in output
    text = out.read_text("utf-8")
    assert not re.search(r"@[A-Z]+@|https?://|\beval\b", text)
    assert "the file exists; add --overwrite" in refused(
        explore.main, supervised_run, "--out", out, code=2
    )
    assert call(explore.main, supervised_run, "--grid", 3, "--out", out, "--overwrite")[0] == 0
    assert "3 × 3 images decoded beforehand" in out.read_text("utf-8").replace("\\u00d7", "×")
    assert "--grid 999: expected at most 146" in refused(
        explore.main, supervised_run, "--grid", 999, "--out", tmp_path / "a.html", code=2
    )
    assert "ends in .html" in refused(explore.main, supervised_run, "--out", "a.txt", code=2)
    assert "no run here" in refused(explore.main, tmp_path / "nowhere", code=1)
    assert [path.name for path in tmp_path.iterdir()] == ["plane.html"]


def test_few_images_where_they_are_large(monkeypatch):
    model, dataset = untrained()
    monkeypatch.setattr(explored, "MAX_VALUES", 10 * 30)
    data = explored.page_data(model, dataset)
    assert "10 of 40 held-out images" in data["how"] and len(array(data["labels"], "<u2")) == 10
    assert "5 of 40 held-out images" in explored.page_data(model, dataset, grid=2)["how"]


def test_half_precision_only_where_it_is_enough():
    model, dataset = untrained()
    assert explored.page_data(model, dataset)["decoder"]["bytes"] == 2
    # Weights that half precision cannot hold, or not well enough.
    for size in (1e6, 300):
        weight = model.decoder.layers[0].weight
        bias = model.decoder.layers[1].weight
        weight.set_data(weight.data() * size)
        bias.set_data(bias.data() / size)
        data = explored.page_data(model, dataset)
        assert data["decoder"]["bytes"] == (4 if size == 1e6 else 2)
        weight.set_data(weight.data() / size)
        bias.set_data(bias.data() * size)


@pytest.mark.parametrize("reason", ["weights", "layers"])
def test_grid_where_the_decoder_is_not_embedded(monkeypatch, reason):
    model, dataset = untrained()
    if reason == "weights":
        monkeypatch.setattr(explored, "MAX_WEIGHTS", 100)
    else:
        monkeypatch.setattr(explored, "_dense_layers", lambda decoder: None)
    data = explored.page_data(model, dataset)
    assert data["decoder"] is None and data["grid"]["steps"] == explored.GRID
    expected = {"weights": "too many weights", "layers": "no plain multi-layer perceptron"}
    assert expected[reason] in data["how"] and "approximation" in data["how"]


def test_decoders_that_are_plain():
    from aae_mx.backend import mx

    model, _ = untrained()
    assert len(explored._dense_layers(model.decoder)) == 3
    model.decoder.layers.add(mx.gluon.nn.Dropout(0.1))
    assert explored._dense_layers(model.decoder) is None
    model, _ = untrained()
    model.decoder.register_child(mx.gluon.nn.Dense(3), "more")
    assert explored._dense_layers(model.decoder) is None
    assert explored._dense_layers(mx.gluon.nn.HybridSequential()) is None


def array(text, dtype):
    import base64

    return np.frombuffer(base64.b64decode(text), dtype)


# The page, in Chromium.


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here (on Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            args=FLAGS,
            headless=True,
            viewport={"width": 1100, "height": 800},
            has_touch=True,
        )
        # A busy machine starves a browser.
        context.set_default_timeout(120_000)
        yield context
        context.close()


@pytest.fixture
def show(browser, tmp_path):
    """Open the page of some data; it must have no errors and ask for nothing else."""
    pages, errors = [], []

    def show(data, size=(1100, 800)):
        file = tmp_path / f"page{len(pages)}.html"
        file.write_text(explored.page(data), "utf-8")
        page = browser.new_page()
        pages.append(page)
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.on("pageerror", lambda error: errors.append(str(error)))
        # Warnings are of the tests, which read canvases back again and again.
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("data:", "file:")) or errors.append(request.url)
            ),
        )
        page.goto(file.as_uri())
        wait_until(page, "document.getElementById('picture').dataset.point")
        return page

    yield show
    for page in pages:
        page.close()
    assert not errors


def wait_until(page, expression):
    # Playwright's own wait_for_function evaluates within the page, which forbids it.
    deadline = time.monotonic() + 120
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.02)


def pixels(page, name):
    """The pixels of a canvas: uint8 (height, width, 3)."""
    width, height, values = page.evaluate(
        """name => {
          const canvas = document.getElementById(name);
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return [canvas.width, canvas.height, Array.from(data)];
        }""",
        name,
    )
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def settled(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def place(page, point, limit):
    """Where a point of the plane is on the screen."""
    box = page.locator("#plane").bounding_box()
    # Within a border of one pixel.
    size = box["width"] - 2
    return (
        float(box["x"] + 1 + (point[0] / limit + 1) / 2 * size),
        float(box["y"] + 1 + (1 - point[1] / limit) / 2 * size),
    )


def decoded_point(page):
    settled(page)
    return np.array(json.loads(page.locator("#picture").get_attribute("data-point")))


def grey(image):
    return (np.asarray(image, float) * np.ones(3)) if image.ndim == 3 else image[..., None] * 255.0


def assert_shows(page, name, image, within=2):
    """A canvas shows ``image``, floats in 0–1, within so many levels of 255."""
    wanted = 255 * np.asarray(image, np.float64)
    wanted = wanted if wanted.ndim == 3 else wanted[..., None]
    assert np.abs(pixels(page, name) - wanted).max() <= within


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_decodes_as_the_model_does(show, activation):
    model, dataset = untrained(activation=activation, init_std=1.0 if activation != "relu" else 0.5)
    data = explored.page_data(model, dataset)
    page = show(data)
    seen = []
    for share in ((0.2, 0.3), (0.9, 0.55), (-0.7, -0.8)):
        wanted = np.array(share) * data["limit"]
        page.mouse.move(*place(page, wanted, data["limit"]))
        point = decoded_point(page)
        assert np.abs(point - wanted).max() < data["limit"] / 100
        assert_shows(page, "picture", model.decode(point[None])[0])
        seen.append(pixels(page, "picture"))
        assert re.fullmatch(r"decoded in \d+\.\d ms", page.locator("#time").inner_text())
    assert all(np.ptp(image.astype(int)) > 20 for image in seen)
    assert np.abs(seen[0].astype(int) - seen[1]).max() > 10, "a move changes the picture"


def test_trained_run(show, supervised_run):
    model = aae_mx.load(supervised_run)
    data = explored.page_data(model, load_dataset(model.config))
    page = show(data)
    page.mouse.move(*place(page, (1, -1), data["limit"]))
    assert_shows(page, "picture", model.decode(decoded_point(page)[None])[0])
    assert page.title() == "swiss roll, supervised"
    assert "p(z)" in page.locator("#about").inner_text()
    assert "half precision" in page.locator("#how").inner_text()


def test_click_shows_image_reconstruction_and_label(show):
    model, dataset = untrained()
    data = explored.page_data(model, dataset)
    page = show(data)
    codes = model.encode(dataset.test_images)
    inside = np.flatnonzero(np.abs(codes).max(axis=1) < 0.9 * data["limit"])
    for i in inside[[0, 7]]:
        page.mouse.click(*place(page, codes[i], data["limit"]))
        settled(page)
        said = re.fullmatch(r"Held-out image (\d+), label (.)", page.locator("#said").inner_text())
        number = int(said[1])
        # Another point may lie on the same pixel.
        assert np.linalg.norm(codes[number] - codes[i]) < data["limit"] / 100
        assert said[2] == "abc"[dataset.test_labels[number]]
        np.testing.assert_array_equal(
            pixels(page, "original"), dataset.test_images[number][..., None] * np.ones(3)
        )
        assert_shows(page, "reconstruction", model.decode(codes[number][None])[0])


def test_dragging_plays_the_interpolation(show):
    model, dataset = untrained()
    data = explored.page_data(model, dataset)
    data["points"] = explored._base64(
        np.tile([[-1, -1], [1, 1]], (20, 1)) * data["limit"] / 2, "<f4"
    )
    page = show(data)
    page.evaluate(
        """() => {
          window.way = [];
          new MutationObserver(() => way.push(JSON.parse($("picture").dataset.point)))
            .observe($("picture"), { attributeFilter: ["data-point"] });
        }"""
    )
    # From near one point to near another: the way is from point to point.
    ends = [np.array(sign) * data["limit"] / 2 for sign in ((-1, -1), (1, 1))]
    page.mouse.move(*place(page, ends[0] + data["limit"] / 80, data["limit"]))
    page.mouse.down()
    page.mouse.move(*place(page, ends[1] - data["limit"] / 80, data["limit"]), steps=4)
    settled(page)
    page.evaluate("way.length = 0")
    page.mouse.up()
    wait_until(page, "play === null")
    way = np.array(page.evaluate("way"))
    assert len(way) > 5
    np.testing.assert_allclose(way[-1], ends[1], atol=1e-6)
    np.testing.assert_allclose(way[:, 0], way[:, 1], atol=1e-6)
    assert (np.diff(way[:, 0]) >= 0).all() and np.abs(way).min() < 0.45 * data["limit"]
    assert_shows(page, "picture", model.decode(ends[1][None])[0])
    page.locator("#again").click()
    assert page.evaluate("play !== null")
    page.locator("#plane").press("Escape")
    assert page.evaluate("play === null")


def test_keys(show):
    model, dataset = untrained()
    data = explored.page_data(model, dataset)
    page = show(data)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "plane"
    assert page.evaluate("getComputedStyle($('plane')).outlineStyle") == "solid"
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowRight", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    point = decoded_point(page)
    np.testing.assert_allclose(point, [data["limit"] / 10, 0], atol=1e-6)
    assert_shows(page, "picture", model.decode(point[None])[0])
    for _ in range(15):
        page.keyboard.press("Shift+ArrowUp")
    assert decoded_point(page)[1] == data["limit"], "it stays in the plane"
    page.keyboard.press("Enter")
    codes = model.encode(dataset.test_images)
    nearest = np.linalg.norm(codes - point * [1, 0] - [0, data["limit"]], axis=1).argmin()
    assert page.locator("#said").inner_text().startswith(f"Held-out image {nearest}, ")
    for _ in range(20):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+Enter")
    np.testing.assert_allclose(page.evaluate("play.from"), codes[nearest], atol=1e-6)
    # The buttons come next, in the order in which they are seen.
    for name in ("Play again", "a", "b"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == name


def test_touch(show):
    model, dataset = untrained()
    data = explored.page_data(model, dataset)
    page = show(data, size=(390, 800))
    codes = model.encode(dataset.test_images)
    i = np.flatnonzero(np.abs(codes).max(axis=1) < 0.9 * data["limit"])[0]
    page.touchscreen.tap(*place(page, codes[i], data["limit"]))
    settled(page)
    assert page.locator("#said").inner_text().startswith("Held-out image")
    # A finger decodes as it moves, and does not scroll the page away under it.
    ends = np.array([(0.2, 0.7), (-0.4, -0.7)]) * data["limit"]
    devtools = page.context.new_cdp_session(page)
    for kind, point in (
        ("touchStart", ends[0]),
        ("touchMove", ends.mean(0)),
        ("touchMove", ends[1]),
    ):
        x, y = place(page, point, data["limit"])
        touch = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
        devtools.send("Input.dispatchTouchEvent", touch)
        assert np.abs(decoded_point(page) - point).max() < data["limit"] / 50
        assert_shows(page, "picture", model.decode(decoded_point(page)[None])[0])
    assert page.evaluate("scrollY") == 0
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert page.evaluate("play !== null"), "the way is played"


def test_legend_switches_labels(show):
    model, dataset = untrained()
    data = explored.page_data(model, dataset)
    page = show(data)

    def colours():
        settled(page)
        return set(
            page.evaluate(
                """() => {
                  const size = plane.width;
                  const { data } = plane.getContext("2d").getImageData(0, 0, size, size);
                  return Array.from(new Set(new Uint32Array(data.buffer)));
                }"""
            )
        )

    prior = 0xFFCCCCCC
    before = colours()
    assert prior in before
    a, b = page.get_by_role("button", name="a", exact=True), page.get_by_role("button", name="b")
    assert a.get_attribute("aria-pressed") == "true"
    a.click()
    assert a.get_attribute("aria-pressed") == "false" and colours() != before
    # What is hidden is not chosen either.
    codes = model.encode(dataset.test_images)
    shown = np.flatnonzero(dataset.test_labels != 0)
    expected = shown[np.linalg.norm(codes[shown], axis=1).argmin()]
    assert page.evaluate("nearest([0, 0])") == expected
    page.get_by_role("button", name="none").click()
    assert b.get_attribute("aria-pressed") == "false"
    assert page.evaluate("nearest([0, 0])") is None
    page.locator("#plane").press("Enter")
    assert page.locator("#said").inner_text() == "Click a point to see its image."
    page.get_by_role("button", name="p(z)").click()
    assert prior not in colours()
    page.get_by_role("button", name="all").click()
    page.get_by_role("button", name="p(z)").click()
    assert colours() == before


def test_images_without_labels(show):
    model, dataset = untrained()
    data = {**explored.page_data(model, dataset), "labelled": False, "classes": ["q(z)"]}
    data["labels"] = explored._base64(np.zeros(40), "<u2")
    page = show(data)
    names = page.locator("#legend button").all_inner_texts()
    assert [name.strip() for name in names] == ["q(z)", "p(z)", "all", "none"]
    page.locator("#plane").press("Enter")
    assert re.fullmatch(r"Held-out image \d+", page.locator("#said").inner_text())


def test_every_label_has_a_look_of_its_own(show):
    """Of twelve labels no two markers are alike, and none differ by their colour alone."""
    model, dataset = untrained(classes="abcdefghijkl")
    page = show(explored.page_data(model, dataset))
    looks = page.evaluate(
        """() => data.classes.map((_, label) => {
          const { width } = marker(label, 15);
          const pixels = marker(label, 15).getContext("2d").getImageData(0, 0, width, width).data;
          return Array.from(pixels.filter((_, i) => i % 4 === 3));
        })"""
    )
    shapes = [np.array(look) > 127 for look in looks[:10]]
    assert all((a != b).mean() > 0.03 for i, a in enumerate(shapes) for b in shapes[:i])
    assert looks[10] != looks[0] and looks[11] != looks[1], "eleven colours would be ten again"


def test_more_dimensions(show):
    model, dataset = untrained(code_dim=6)
    data = explored.page_data(model, dataset)
    assert "6 dimensions" in data["how"] and "first two principal components" in data["how"]
    page = show(data)
    codes = model.encode(dataset.test_images)
    _, fitted = plotting.project(codes)
    page.mouse.move(*place(page, np.array([0.3, -0.4]) * data["limit"], data["limit"]))
    point = decoded_point(page)
    expected = model.decode(fitted.inverse_transform(point[None]))[0]
    assert_shows(page, "picture", expected)
    # The reconstruction is that of the whole code, not of its place in the plane.
    page.locator("#plane").press("Enter")
    i = int(re.search(r"\d+", page.locator("#said").inner_text())[0])
    settled(page)
    assert_shows(page, "reconstruction", model.decode(codes[i][None])[0])
    inside = fitted.inverse_transform(fitted.transform(codes[i][None]))
    assert np.abs(model.decode(inside) - model.decode(codes[i][None])).max() > 0.05


@pytest.mark.parametrize(
    ("image_shape", "code_dim"),
    [
        ((6, 5), 4),
        ((4, 5, 3), 2),
        pytest.param((6, 5), 2, marks=pytest.mark.slow),
        pytest.param((4, 5, 3), 4, marks=pytest.mark.slow),
    ],
)
def test_grid(show, image_shape, code_dim):
    """On the grid's points the page shows the model's images, and between them their blend."""
    model, dataset = untrained(image_shape=image_shape, code_dim=code_dim)
    steps = 5
    data = explored.page_data(model, dataset, grid=steps)
    page = show(data)
    assert "approximation" in page.locator("#how").inner_text()
    limit = data["limit"]
    _, fitted = plotting.project(model.encode(dataset.test_images))
    nodes = model.decode(plotting.plane_codes(fitted, limit, steps))
    nodes = nodes.reshape(steps, steps, *image_shape)
    assert_shows(page, "picture", nodes[2, 2], within=1)
    assert page.locator("#time").inner_text().startswith("blended in")
    for wanted in ((0.3, 0.45), (-0.95, -0.2)):
        page.mouse.move(*place(page, np.array(wanted) * limit, limit))
        x, y = decoded_point(page) / limit
        column, row = (x + 1) / 2 * (steps - 1), (1 - y) / 2 * (steps - 1)
        left, top = int(column), int(row)
        right, down = column - left, row - top
        upper = (1 - right) * nodes[top, left] + right * nodes[top, left + 1]
        lower = (1 - right) * nodes[top + 1, left] + right * nodes[top + 1, left + 1]
        assert_shows(page, "picture", (1 - down) * upper + down * lower, within=1.1)
    # As far as the last row and column.
    for _ in range(20):
        page.locator("#plane").press("Shift+ArrowRight")
        page.locator("#plane").press("Shift+ArrowDown")
    assert (decoded_point(page) == [limit, -limit]).all()
    assert_shows(page, "picture", nodes[-1, -1], within=1)
    page.locator("#plane").press("Enter")
    i = int(re.search(r"\d+", page.locator("#said").inner_text())[0])
    settled(page)
    assert_shows(page, "original", dataset.test_images[i] / 255, within=0)
    assert_shows(page, "reconstruction", model.reconstruct(dataset.test_images[i][None])[0], 1)


HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "\"'&\u2028<!--",
)


def test_names_of_a_stranger_are_only_text(show):
    model, dataset = untrained(classes=HOSTILE)
    page = show(explored.page_data(model, dataset))
    names = page.locator("#legend button").all_inner_texts()
    shown = [*HOSTILE[:2], "\"'&\\u2028<!--"]
    assert [name.strip() for name in names[:3]] == shown
    page.locator("#plane").press("Enter")
    assert page.locator("#said").inner_text().split("label ")[1] in shown
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0 and page.locator("script").count() == 2


def test_the_page_forbids_itself_the_network(browser, tmp_path):
    model, dataset = untrained()
    file = tmp_path / "page.html"
    file.write_text(explored.page(explored.page_data(model, dataset)), "utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    refused = page.evaluate(
        """async () => {
          const refused = [];
          document.addEventListener("securitypolicyviolation",
            event => refused.push(event.effectiveDirective));
          await fetch("http://127.0.0.1:9/").catch(() => 0);
          new Image().src = "http://127.0.0.1:9/image.png";
          const script = document.createElement("script");
          script.textContent = "window.hacked = 1";
          document.body.append(script);
          await new Promise(done => setTimeout(done, 300));
          return refused;
        }"""
    )
    assert {"connect-src", "img-src", "script-src-elem"} <= set(refused)
    assert page.evaluate("window.hacked") is None
    page.close()


@pytest.mark.parametrize("width", [320, 1100])
def test_many_classes_and_long_names_fit_the_screen(show, width):
    names = [*map(str, range(118)), "x" * 300, "line\nbreak\udce9"]
    model, dataset = untrained(classes=names)
    page = show(explored.page_data(model, dataset), size=(width, 800))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#legend").bounding_box()["height"] <= 800
    shown = [name.strip() for name in page.locator("#legend button").all_inner_texts()]
    assert shown[117:120] == ["117", "x" * 300, "line\\nbreak\\xe9"]
    assert page.evaluate("short(data.classes[118])") == "x" * 15 + "…"


@pytest.mark.parametrize("width", [320, 390, 1100])
def test_fits_the_screen(show, width):
    model, dataset = untrained()
    page = show(explored.page_data(model, dataset), size=(width, 800))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#plane").bounding_box()
    assert box["width"] >= 0.55 * width and abs(box["width"] - box["height"]) <= 2
    picture = page.locator("#picture").bounding_box()
    assert picture["y"] + picture["height"] / 2 < 800, "the picture is seen beside the plane"


@pytest.mark.parametrize("grid", [None, 3])
def test_the_kind_can_be_chosen(show, grid):
    """Of a mode whose decoder takes a label beside the code."""
    model, dataset = untrained(mode="classification", labels="all", style_dim=4)
    data = explored.page_data(model, dataset, grid=grid)
    page = show(data)
    _, fitted = plotting.project(model.encode(dataset.test_images))
    middle = plotting.plane_codes(fitted, data["limit"], 3)[4][None]
    for kind in (0, len(model.classes) - 1):
        page.locator("#kind").select_option(str(kind))
        settled(page)
        assert_shows(page, "picture", model.decode(middle, labels=kind)[0], within=1)
    page.locator("#plane").press("Enter")
    i = int(re.search(r"\d+", page.locator("#said").inner_text())[0])
    settled(page)
    assert_shows(page, "reconstruction", model.reconstruct(dataset.test_images[i][None])[0], 1)
    likeliest = model.classify(dataset.test_images[i][None]).argmax()
    assert page.locator("#kind").input_value() == str(likeliest)


# Rows of features, and what else arrays may be.

NAMES = ("height, cm", *HOSTILE, "x" * 300)


def of_arrays(X, y=None, X_test=None, y_test=None, names=None, **settings):
    """An untrained model and its dataset, of arrays."""
    dataset = Dataset.from_arrays(X, y, X_test, y_test, feature_names=names)
    how = {"limit": None, "dataset": "arrays", "shape": dataset.image_shape, "init_std": 0.5}
    config = small_config(**{**how, "hidden": (20, 12), **settings})
    shape, classes = dataset.image_shape, dataset.classes
    model = aae_mx.model.AAE(config, shape, classes, dataset.feature_names)
    model.scale = scale.measure(config.scale, dataset.train_images)
    return model, dataset


def table(n=40, features=5, seed=0):
    """Rows of features of very different sizes."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, features)) * 10.0 ** np.arange(-3, 2 * features - 3, 2) + 3


def values(page, expression):
    return np.array(page.evaluate(f"Array.from({expression})"))


@pytest.mark.parametrize(
    ("kind", "grid"),
    [
        ("standard", None),
        ("unit", 5),
        pytest.param("standard", 5, marks=pytest.mark.slow),
        pytest.param("unit", None, marks=pytest.mark.slow),
    ],
)
def test_rows_are_decoded_as_the_model_does(show, kind, grid):
    X = table()
    model, dataset = of_arrays(X, X_test=table(seed=1), scale=kind, names=NAMES)
    data = explored.page_data(model, dataset, grid)
    page = show(data)
    size = model.scale.size
    for steps in (0, 5):
        # On points of the grid.
        for _ in range(steps):
            page.locator("#plane").press("Shift+ArrowRight")
        point = decoded_point(page)
        np.testing.assert_allclose(point, [steps / 10 * data["limit"], 0], atol=1e-6)
        shown, wanted = values(page, "unscaled(decodePoint(cursor))"), model.decode(point[None])[0]
        assert np.abs((shown - wanted) / size).max() < (1e-4 if grid else explored.TOLERANCE)
        # The bar of the largest value is as long as it says, to a pixel; ends of the scale apart.
        low, high = (-3, 3) if kind == "standard" else (0, 1)
        scaled = np.clip(model.scale.apply(wanted[None])[0], low, high)
        bars = pixels(page, "picture").astype(int)
        blue, red = bars[..., 2] - bars[..., 0] > 100, bars[..., 0] - bars[..., 2] > 100
        lengths = [(blue | red)[18 * i + 9].sum() for i in range(5)]
        whole = (bars[18 * 5 - 1] == 240).all(axis=1).sum() + 1
        for length, value in zip(lengths, scaled):
            assert abs(length - abs(value) / (high - low) * whole) < 3
    assert not np.allclose(values(page, "means"), 0) or kind == "standard"
    page.locator("#plane").press("Enter")
    said = re.fullmatch(r"Held-out row (\d+)", page.locator("#said").inner_text())
    i = int(said[1])
    original = values(page, f"unscaled(rowOf(sheets.images, {i}))")
    assert np.abs((original - dataset.test_images[i]) / size).max() < 1e-5
    again = model.reconstruct(dataset.test_images[i][None])[0]
    code = f"unscaled(decode(codes.subarray(2 * {i}, 2 * {i} + 2)))"
    if grid:
        code = f"unscaled(rowOf(sheets.reconstructions, {i}))"
    assert np.abs((values(page, code) - again) / size).max() < explored.TOLERANCE


def test_a_profile_in_words(show):
    """What is farthest from the mean, in the units of the data; names are only text."""
    model, dataset = of_arrays(table(), X_test=table(seed=1), names=NAMES, scale="standard")
    page = show(explored.page_data(model, dataset))
    page.locator("#plane").press("Enter")
    i = int(re.search(r"\d+", page.locator("#said").inner_text())[0])
    row = dataset.test_images[i]
    far = model.scale.apply(row[None])[0]
    first = np.abs(far).argmax()
    name = NAMES[first].replace("\u2028", "\\u2028")
    label = page.locator("#original").get_attribute("aria-label")
    told = re.fullmatch(r"The row\. Farthest from the mean: (.*?) (\S+) \((\S+) (.*?)\), .*", label)
    assert told[1] == name and float(told[3]) == pytest.approx(abs(far[first]), abs=0.006)
    assert float(told[2]) == pytest.approx(row[first], abs=0.01 * model.scale.size[first])
    assert told[4] == f"standard deviations {'above' if far[first] > 0 else 'below'}"
    assert label.count(" standard deviations ") == 3
    assert "reconstruction. Farthest" in page.locator("#reconstruction").get_attribute("aria-label")
    assert page.evaluate("window.hacked") is None and page.locator("img").count() == 0
    assert page.locator("figcaption.noun").inner_text() == "row"


def test_large_values_are_told_to_their_spread(show):
    """Seconds since 1970, an hour apart."""
    X = table()
    X[:, 0] = 1.7e9 + 3600 * np.arange(40)
    model, dataset = of_arrays(X, scale="standard")
    page = show(explored.page_data(model, dataset))
    assert page.evaluate("told(1700000060.7, 0)") == "1700000100"
    shown = values(page, "unscaled(rowOf(sheets.images, 7))")
    assert abs(shown[0] - X[7, 0]) < 0.1


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("features", [7, 200])
def test_profiles_fit_the_screen(show, width, features):
    rng = np.random.default_rng(0)
    names = ["x" * 300] * features
    model, dataset = of_arrays(rng.standard_normal((30, features)), names=names, scale="standard")
    page = show(explored.page_data(model, dataset), size=(width, 800))
    page.locator("#plane").press("Enter")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("picture", "original", "reconstruction"):
        box = page.locator(f"#{name}").bounding_box()
        wanted = 7 * 18 if features == 7 else 420
        assert box["width"] >= 250 and abs(box["height"] - wanted) < 2
        colours = page.evaluate(
            """name => {
              const { width, height } = $(name), context = $(name).getContext("2d");
              const { data } = context.getImageData(0, 0, width, height);
              return new Set(new Uint32Array(data.buffer)).size;
            }""",
            name,
        )
        assert colours > 3, "bars to both sides and the ground"
    # They are drawn anew for another width.
    page.set_viewport_size({"width": 330, "height": 800})
    wait_until(page, "$('original').width === Math.round($('original').clientWidth)")


@pytest.mark.parametrize("mode", ["style", "label_prior"])
def test_none_held_out_and_labels_that_are_not_known(show, mode):
    y = np.where(np.arange(40) % 4, np.arange(40) % 3, -1)
    model, dataset = of_arrays(table(), y, scale="standard", mode=mode)
    data = explored.page_data(model, dataset)
    there = "30 of 40" if mode == "style" else "40 of 40"
    assert f"{there} training rows, as no rows are held out." in data["how"]
    assert "codes of training rows by label" in data["about"]
    page = show(data)
    names = [name.strip() for name in page.locator("#legend button").all_inner_texts()]
    if mode == "style":
        # Without a label they have no reconstruction; numbers are those of the data.
        assert names[:3] == ["0", "1", "2"] and "no label" not in names
        page.evaluate("select(3)")
        assert page.locator("#said").inner_text() == "Training row 5, label 2"
        shown = values(page, "unscaled(rowOf(sheets.images, 3))")
        np.testing.assert_allclose(shown, dataset.train_images[5], rtol=1e-4)
        return
    assert names[:4] == ["0", "1", "2", "no label"]
    page.evaluate("select(4)")
    assert page.locator("#said").inner_text() == "Training row 4"
    page.evaluate("select(5)")
    assert page.locator("#said").inner_text() == "Training row 5, label 2"
    colour = page.evaluate(
        "Array.from(marker(data.unlabelled, 15).getContext('2d').getImageData(15, 15, 1, 1).data)"
    )
    assert colour == [119, 119, 119, 255]


@pytest.mark.parametrize("kind", ["standard", "unit"])
@pytest.mark.parametrize("grid", [None, 5])
def test_images_of_another_scale(show, kind, grid):
    """They are shown from the lowest to the highest value of the data."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 6, 5)) * 100 + 1000
    model, dataset = of_arrays(X, scale=kind, init_std=0.2)
    data = explored.page_data(model, dataset, grid)
    page = show(data)
    low, high = X.min(), X.max()

    def shown(image):
        return np.clip((image - low) / (high - low), 0, 1)

    assert "40 training images, as no images are held out" in data["how"]
    assert_shows(page, "picture", shown(model.decode(decoded_point(page)[None])[0]))
    page.locator("#plane").press("Enter")
    i = int(re.search(r"Training image (\d+)", page.locator("#said").inner_text())[1])
    assert_shows(page, "original", shown(X[i]), within=1)
    assert_shows(page, "reconstruction", shown(model.reconstruct(X[i][None])[0]))


def test_a_grid_of_rows_has_a_limit(monkeypatch):
    model, dataset = of_arrays(table(), scale="standard")
    monkeypatch.setattr(explored, "MAX_VALUES", 5 * 4 * 50)
    data = explored.page_data(model, dataset, grid=7)
    assert len(array(data["grid"]["images"][0], "<f4")) == 7 * 7 * 5
    with pytest.raises(ConfigError, match="expected at most 7, as the file would be too large"):
        explored.page_data(model, dataset, grid=8)
