import gzip
import os

import matplotlib
import numpy as np
import pytest
from click.testing import CliRunner

from aae_mx.config import Config

matplotlib.use("Agg")
# Its list of fonts takes seconds to make; below, caches go elsewhere.
os.environ.setdefault("MPLCONFIGDIR", matplotlib.get_cachedir())

# Small enough for a second, large enough to have every class in each part.
SMALL = {
    "limit": 300,
    "epochs": 2,
    "batch_size": 50,
    "hidden": (32, 16),
    "discriminator_hidden": (16,),
}


def pytest_configure(config):
    # MXNet is retired and warns of what NumPy and SciPy have since changed.
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:mxnet.*")
    config.addinivalue_line("markers", "slow: of a kind of which others run always; make test-all")


def pytest_collection_modifyitems(items):
    # So that the suite can be run often: make test-all runs them, by AAE_MX_ALL.
    if not os.environ.get("AAE_MX_ALL"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: see make test-all"))


def small_config(**settings):
    return Config(**{**SMALL, **settings})


def small_options(**settings):
    """SMALL and more settings, as options of the command line."""
    options = []
    for name, value in {**SMALL, **settings}.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        options += ["--" + name.replace("_", "-"), text]
    return options


def create(model, out=None, **options):
    """A new Run of a model, see ``Run.create``."""
    from aae_mx.model import describe
    from aae_mx.runs.directory import Run

    return Run.create(model.config.name, describe(model, "data"), out, **options)


@pytest.fixture
def call():
    """Call a command of aae_mx: its exit code and what it printed, which is never a traceback."""

    def call(command, *arguments):
        result = CliRunner().invoke(command, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        assert "Traceback" not in result.output
        return result.exit_code, result.output

    return call


@pytest.fixture
def refused(call):
    """Call a command that must end in one line; returns it."""

    def refused(command, *arguments, code):
        status, output = call(command, *arguments)
        assert status == code, output
        *before, line = output.splitlines(keepends=True)
        # What a run names is said before it is read.
        assert all(other.endswith(", which the run names\n") for other in before[:1]), output
        assert len(before) < 2 and line.startswith("Error: ") and line.endswith("\n"), output
        return line

    return refused


@pytest.fixture(scope="session")
def supervised_run(tmp_path_factory):
    from aae_mx import fit

    path = tmp_path_factory.mktemp("runs") / "supervised"
    fit(small_config(prior="swiss_roll", labels="all"), path, quiet=True)
    return path


@pytest.fixture(scope="session")
def unsupervised_run(tmp_path_factory):
    from aae_mx import fit

    path = tmp_path_factory.mktemp("runs") / "unsupervised"
    fit(small_config(), path, quiet=True)
    return path


def write_idx(path, values):
    """Write an array of bytes as an IDX file, gzipped if the name ends in .gz."""
    values = np.asarray(values, np.uint8)
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "wb") as file:
        file.write(header + values.tobytes())


# A convolutional network of as little work, and images in colour for it.
SMALL_CONV = {
    "image_size": 28,
    "epochs": 2,
    "batch_size": 8,
    "code_dim": 4,
    "filters": 4,
    "discriminator_hidden": (16,),
}


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """A folder of 40 images in colour, of two classes: bright discs and dark squares."""
    from PIL import Image

    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for i in range(40):
        disc = i % 2 == 0
        colour = rng.integers(*((130, 256) if disc else (0, 100)), size=3)
        distance = np.hypot(y - 16, x - 16) if disc else np.maximum(abs(y - 16), abs(x - 16))
        picture = np.where((distance < rng.integers(5, 14))[..., None], colour, 110)
        directory = path / ("discs" if disc else "squares")
        directory.mkdir(exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(directory / f"{i:02}.png")
    return path


@pytest.fixture(scope="session", autouse=True)
def coarse_figures():
    """Fewer pixels, which take less time; the value is how many an inch has otherwise."""
    from aae_mx.report import figures

    with pytest.MonkeyPatch.context() as patch:
        otherwise = figures.DPI
        patch.setattr(figures, "DPI", 30)
        yield otherwise


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory):
    """Decoded images go to a directory of the tests."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path))
        yield path


@pytest.fixture
def idx_directory(tmp_path):
    """A directory of four IDX files: 40 training and 20 held-out images of 6 × 5 pixels."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 40), ("t10k", 20)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(256, size=(n, 6, 5)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(n) % 4)
    return tmp_path
