"""The paper's experiments on several machines, which Dask knows and which share a file system.

    python examples/dask_paper.py tcp://node1:8786 --only 5,6 --out /shared/paper

On one machine start "dask scheduler", and on each "dask worker tcp://node1:8786 --nthreads 1
--nworkers 8" with the same Python; each such worker trains one model at a time. "local" instead of
an address starts a cluster of this machine alone. Needs the extra "cluster" (pip install -e
'.[cluster]').
"""

from pathlib import Path

import click
from joblib import parallel_config

from aae_mx.commands.options import command
from aae_mx.errors import AAEError
from aae_mx.report.paper import SECTIONS, reproduce


def main(client, out="paper", only=SECTIONS, seeds=3, quick=False):
    """``client``: a dask.distributed.Client."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    with parallel_config(backend="dask"):
        # Where the workers have been started does not matter.
        reproduce(Path(out).absolute(), only, seeds, quick, jobs=len(workers))


@command(help=__doc__)
@click.argument("scheduler")
@click.option("--out", default="paper", show_default=True, help="On the shared file system.")
@click.option("--only", default=",".join(SECTIONS), show_default=True, help="Sections.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1, 100))
@click.option("--quick", is_flag=True, help="With few images and epochs.")
def program(scheduler, out, only, seeds, quick):
    try:
        from dask.distributed import Client
    except ImportError:
        raise AAEError("dask.distributed is missing: pip install -e '.[cluster]'") from None
    where = {"threads_per_worker": 1} if scheduler == "local" else {"address": scheduler}
    with Client(**where) as client:
        main(client, out, only.split(","), seeds, quick)


if __name__ == "__main__":
    program()
