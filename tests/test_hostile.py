"""Broken and hostile files: every loader reads them or says in one line what is wrong."""

import gzip
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import small_config
from hypothesis import given, settings
from hypothesis import strategies as st

from aae_mx import load
from aae_mx.config import Config
from aae_mx.data.dataset import read_idx
from aae_mx.errors import ConfigError, InputError
from aae_mx.runs.checkpoint import checkpoints
from aae_mx.runs.directory import read_description
from aae_mx.runs.history import read_history
from aae_mx.runs.snapshots import read_snapshots, snapshots

# Mutated files per loader and kind of file; `make test-all` takes many more.
FUZZ = int(os.environ.get("AAE_MX_FUZZ", "150"))


# The IDX reader.


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@given(
    shape=st.one_of(
        st.tuples(st.integers(0, 300)),
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    ),
    zipped=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_idx_reads_what_was_written(folder, shape, zipped, seed):
    array = np.random.default_rng(seed).integers(256, size=shape).astype(np.uint8)
    file = folder / ("array.gz" if zipped else "array")
    file.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    read = read_idx(file, len(shape))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


@given(content=st.binary(max_size=60), zipped=st.booleans(), magic=st.booleans())
@settings(max_examples=200, deadline=None)
def test_idx_of_any_bytes(folder, content, zipped, magic):
    """An array that has all the bytes after its header, or one line that names the file."""
    content = bytes([0, 0, 8, 3]) * magic + content
    file = folder / ("any.gz" if zipped else "any")
    file.write_bytes(gzip.compress(content) if zipped else content)
    try:
        assert read_idx(file, 3).tobytes() == content[16:]
    except InputError as error:
        assert str(file) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("sizes", [(2**31, 28, 28), (2**32 - 1, 1, 1), (2**16, 2**15, 2)])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_that_announces_too_much_takes_no_memory(tmp_path, sizes, zipped):
    content = bytes([0, 0, 8, 3]) + np.array(sizes, ">u4").tobytes() + bytes(1000)
    file = tmp_path / ("many.gz" if zipped else "many")
    file.write_bytes(gzip.compress(content) if zipped else content)
    in_little_memory(
        f"from aae_mx.data.dataset import read_idx; read_idx({str(file)!r}, 3)", "announces"
    )


def test_gzip_bomb_is_read_no_further_than_announced(tmp_path):
    """3 GB of zeros in 3 MB, under a header of one image."""
    file = tmp_path / "bomb.gz"
    # A gzip file may have many parts.
    parts = [gzip.compress(idx(np.zeros((1, 28, 28), np.uint8))), gzip.compress(bytes(10**7), 1)]
    file.write_bytes(parts[0] + 300 * parts[1])
    in_little_memory(
        f"from aae_mx.data.dataset import read_idx; read_idx({str(file)!r}, 3)", "more bytes"
    )


def in_little_memory(code, message):
    """Run ``code`` in a process of 2 GB, in which it must raise InputError with ``message``."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({2 * 10**9},) * 2)"
    result = subprocess.run(
        [sys.executable, "-c", f"{limit}\n{code}"], capture_output=True, text=True
    )
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("aae_mx.errors.InputError: ") and message in last


# The settings.

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(Config().to_dict())), ANYTHING, max_size=4))
@settings(max_examples=400, deadline=None)
def test_config_of_anything(values):
    """A Config that comes back the same from JSON, or a message that names a setting."""
    try:
        config = Config.from_dict(values)
    except ConfigError as error:
        assert any(name in str(error) for name in Config().to_dict()) and "\n" not in str(error)
    else:
        assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(
    prior=st.sampled_from(["gaussian_mixture", "swiss_roll", "uniform"]),
    labels=st.sampled_from(["none", "all", 10, 60_000]),
    epochs=st.integers(1, 10**6),
    rate=st.floats(1e-9, 1e3),
    hidden=st.lists(st.integers(1, 5000), min_size=1, max_size=4),
    recipe=st.sampled_from(["default", "reference"]),
)
@settings(max_examples=100, deadline=None)
def test_config_comes_back_from_json(**values):
    values["generator_rate"] = values.pop("rate")
    config = Config(**values)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


# Everything, mutated.


def mutated(content, rng):
    """``content`` cut off, with bits flipped, with a piece doubled, dropped or made of noise."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(len(content) + 1))
        end = min(len(content), start + int(rng.integers(1, 40)))
        kind = rng.integers(5)
        if kind == 0:
            del content[start:]
        elif kind == 1 and start < len(content):
            content[start] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            content[start:start] = content[start:end]
        elif kind == 3:
            del content[start:end]
        else:
            content[start:end] = rng.bytes(end - start)
    return bytes(content)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    from aae_mx import fit

    path = tmp_path_factory.mktemp("runs") / "tiny"
    config = small_config(hidden=(3,), discriminator_hidden=(3,), epochs=1, limit=50)
    fit(config, path, quiet=True, snapshots=True)
    return path


@pytest.mark.parametrize(
    "name", ["idx", "idx.gz", "config.json", "history.csv", "checkpoint", "snapshot"]
)
def test_mutated_files(tiny_run, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    if name.startswith("idx"):
        file = tmp_path / name
        content = idx(np.random.default_rng(0).integers(256, size=(5, 4, 4)).astype(np.uint8))
        content = gzip.compress(content) if name == "idx.gz" else content
    else:
        files = {"checkpoint": checkpoints(run)[0], "snapshot": snapshots(run)[1]}
        file = files.get(name, run / name)
        content = file.read_bytes()
    read = {
        "idx": lambda: read_idx(file, 3),
        "idx.gz": lambda: read_idx(file, 3),
        "config.json": lambda: read_description(run),
        "history.csv": lambda: read_history(run),
        "checkpoint": lambda: load(run),
        "snapshot": lambda: read_snapshots(run, 50, 2),
    }[name]
    # In a checkpoint nearly all bytes are weights; its structure lies at both ends.
    ends = len(content) - 9000 if name == "checkpoint" else 0
    refused = 0
    for seed in range(FUZZ):
        rng = np.random.default_rng(seed)
        if seed % 2 and ends > 0:
            file.write_bytes(content[:ends] + mutated(content[ends:], rng))
        else:
            file.write_bytes(mutated(content, rng))
        try:
            read()
        except InputError as error:
            refused += 1
            assert str(file) in str(error) or str(run) in str(error), seed
            assert "\n" not in str(error), seed
    assert refused > FUZZ / 4
