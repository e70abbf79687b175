import subprocess
import sys
from pathlib import Path

import pytest

THROUGHPUT = Path(__file__).parent.parent / "benchmarks" / "throughput.py"


def run(*options):
    return subprocess.run(
        [sys.executable, str(THROUGHPUT), *options], capture_output=True, text=True
    )


@pytest.mark.parametrize("options", [[], ["--labels"], ["--conv"]])
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
