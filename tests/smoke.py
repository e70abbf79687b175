"""A short test of everything, for each supported Python: ``make test-pythons``.

It needs nothing but the package and its extra ``onnx``, and takes half a minute.
"""

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from aae_mx import AdversarialAutoencoder
from aae_mx.__main__ import main as aae_mx

TRAIN = "train --limit 500 --quiet --prior swiss_roll --hidden 64,32"


def command(text):
    """The arguments of a subprocess that runs ``aae-mx TEXT``."""
    return [sys.executable, "-m", "aae_mx", *text.split()]


def run(text):
    """Run ``aae-mx TEXT`` in this process, as MXNet takes seconds to be imported."""
    print(f"aae-mx {text}", flush=True)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            aae_mx(text.split())
        except SystemExit as end:
            if end.code:
                raise


def last_checkpoint(run):
    """The arrays of a run's last checkpoint, {name: array}; None before there is one."""
    files = sorted(Path(run, "checkpoints").glob("checkpoint-*.npz"))
    if not files:
        return None
    with np.load(files[-1]) as arrays:
        return dict(arrays)


def kill_and_resume(run_directory, epochs):
    """Kill a training once it has a checkpoint, and go on with it."""
    print(f"a training that is killed: {run_directory}", flush=True)
    text = f"{TRAIN} --labels --epochs {epochs} --no-figures --out {run_directory}"
    with subprocess.Popen(command(text)) as training:
        while last_checkpoint(run_directory) is None:
            assert training.poll() is None, "it ended before its first checkpoint"
            time.sleep(0.01)
        assert training.poll() is None, "it ended before it could be killed"
        training.send_signal(signal.SIGKILL)
    run(f"train --resume {run_directory} --quiet --no-figures")


def main():
    print(f"Python {sys.version.split()[0]}, NumPy {np.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        run(f"{TRAIN} --epochs 1 --out unsupervised")
        run(f"{TRAIN} --epochs 1 --labels 100 --out semi")
        run(f"{TRAIN} --epochs 1 --labels --out supervised")
        run("train --resume supervised --epochs 4 --quiet --no-figures")
        mode = "--mode classification --labels 100 --epochs 1 --hidden 64"
        run(f"train --limit 500 --quiet {mode} --out classification")
        run("evaluate supervised semi unsupervised classification --compare --json numbers.json")
        run("plot supervised")
        run("plot supervised --format svg --colours safe")
        run("report classification")
        run("sample supervised --label 3")
        run("encode supervised --out codes.npz")
        run("explore supervised")
        run("export supervised")

        # Rows of features, by a command and by an estimator.
        rows = np.random.default_rng(0).standard_normal((60, 5))
        np.savez("rows.npz", X=rows)
        run("train --data rows.npz --epochs 2 --quiet --out rows")
        assert AdversarialAutoencoder(epochs=2).fit(rows).transform(rows).shape == (60, 2)

        kill_and_resume("killed", 12)
        run(f"{TRAIN} --labels --epochs 12 --no-figures --out unbroken")
        resumed, unbroken = last_checkpoint("killed"), last_checkpoint("unbroken")
        # The seconds that it took are not the same, nor the check sum over them.
        for name in unbroken.keys() - {"seconds", "sha256"}:
            assert np.array_equal(resumed[name], unbroken[name]), f"{name} differs"
        os.chdir("/")
    print("passed")


if __name__ == "__main__":
    main()
