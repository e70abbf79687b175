import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import small_config

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
THROUGHPUT = BENCHMARKS / "throughput.py"


def run(*options):
    return subprocess.run(
        [sys.executable, str(THROUGHPUT), *options], capture_output=True, text=True
    )


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "options", [[], pytest.param(["--labels"], marks=SLOW), pytest.param(["--conv"], marks=SLOW)]
)
def test_throughput(options):
    result = run("--steps", "5", "--only-step", *options)
    assert result.returncode == 0, result.stderr
    name, number = result.stdout.strip().split("=")
    assert name == "aae_mx_samples_per_s" and int(number) > 0


def test_peer_needs_torch():
    code = f"""
import runpy, sys
sys.modules["torch"] = None
sys.argv = ["throughput.py", "--peer"]
runpy.run_path({str(THROUGHPUT)!r}, run_name="__main__")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: the peers need PyTorch") and "[bench]" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_bound_by_hand():
    """Of networks 3-2-2, 2-2-3 and 2-2-1 with batches of 100."""
    from aae_mx.model import AAE

    throughput = runpy.run_path(str(THROUGHPUT))
    config = small_config(hidden=(2,), discriminator_hidden=(2,), code_dim=2)
    flops, moved = throughput["work_of_a_step"](AAE(config, (1, 3), ()))
    # Weights: encoder 6 + 4, decoder 4 + 6, discriminator 4 + 2. Forwards, and the gradients of
    # weights and of inputs; but none of images, of codes that are given, and, where the generator
    # learns, of the discriminator's weights.
    reconstruction = (10 + 10 + 4) + (10 + 10 + 10)
    discriminator = 2 * (6 + 6 + 2)
    generator = (10 + 10 + 4) + (6 + 6)
    assert flops == 2 * 100 * (reconstruction + discriminator + generator)
    assert moved == 28 * (10 + 10 + 6 + 10)
    assert throughput["least_seconds"](6e9, 2e9, 3e9, 4e9) == 2.5


def test_busy_leaves_no_process_behind(tmp_path):
    busy = runpy.run_path(str(BENCHMARKS / "busy.py"))
    started = tmp_path / "started"
    code = f"import os; open({str(started)!r}, 'w').write(str(os.getpid()))\nwhile True: pass"
    with busy["neighbours"]([["-c", code]]):
        while not (started.exists() and started.read_text()):
            pass
        number = int(started.read_text())
        os.kill(number, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert busy["rate"](["-c", "print('x_samples_per_s=7')"]) == 7
    with pytest.raises(click.ClickException, match="-c failed: ZeroDivisionError"):
        busy["rate"](["-c", "1 / 0"])


def test_what_several_machines_are_to_expect():
    """By hand, of 10 MB, four machines and 8 Gbit/s: 15 MB in and out of each, with delays."""
    workers = runpy.run_path(str(BENCHMARKS / "workers.py"))
    found = workers["exchange_seconds"](10e6, 4, 8, 1e-3)
    assert found == pytest.approx(10e6 * 3e-9 + 1.4 * 15e6 / 1e9 + 6e-3)


@pytest.mark.slow
def test_workers():
    command = [sys.executable, str(BENCHMARKS / "workers.py"), "--workers", "2", "--batch", "20"]
    told = subprocess.run([*command, "--steps", "2"], capture_output=True, text=True, check=True)
    last = told.stdout.splitlines()[-1].split()
    # Encoder, decoder and discriminator once in a step, and the encoder once more.
    weights = 784_000 + 1_000 + 1_001_000 + 2_002
    weights += 3_000 + 1_001_000 + 784_784 + weights
    weights += 1_500 + 250_500 + 501
    assert last[:2] == ["20", "2"] and last[4] == f"{4 * weights / 1e6:.1f}"


def test_the_script_of_networks_is_sound():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    subprocess.run(["shellcheck", BENCHMARKS / "network.sh"], check=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="namespaces of networks are Linux's")
def test_a_network_of_machines_that_there_are_not():
    command = [BENCHMARKS / "network.sh", "1gbit", "0", "2", "sh", "-c", "cat HOSTS; ssh h2 id -u"]
    told = subprocess.run(command, capture_output=True, text=True)
    if told.stderr.startswith("skipped: "):
        pytest.skip(told.stderr)
    assert told.returncode == 0, told.stderr
    assert told.stdout == "h1 address=10.77.0.1\nh2 address=10.77.0.2\n0\n"


@pytest.mark.parametrize("recipe", ["label_prior with labels", pytest.param("style", marks=SLOW)])
def test_steps(recipe, tmp_path):
    """The shares of a step make a whole, and products are the largest. No file is left."""
    command = [sys.executable, str(BENCHMARKS / "steps.py"), "--steps", "3", "--only", recipe]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not list(tmp_path.iterdir())
    head, row = result.stdout.splitlines()
    shares = [int(word[:-1]) for word in row.split() if word.endswith("%")]
    assert "products  optimizers" in head and row.startswith(recipe)
    assert max(shares) == shares[0] and abs(sum(shares) - 100) <= len(shares)
