import os
import runpy
import subprocess
import sys
from pathlib import Path

import click
import pytest

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
    assert result.stderr.startswith("Error: the peer needs PyTorch") and "[bench]" in result.stderr
    assert result.stderr.count("\n") == 1


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
