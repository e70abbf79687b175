#!/bin/bash
# One training on several machines, started by Slurm:
#
#     sbatch examples/slurm.sh --images photos --image-size 64 --arch conv
#
# Every task is a worker with its share of each batch, every machine has a server that sums
# gradients, and the first one the scheduler. When the time of the job is over, all save once;
# the same with --resume RUN goes on, with any number of tasks.
#
#SBATCH --job-name=aae_mx
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@300
set -euo pipefail

export PYTHON=${PYTHON:-python}

# The first address of a machine. Choose here, if yours have several networks: it has to be one that
# only your own machines are in, as whoever reaches these processes can run programs in them.
own_address() { hostname -I | cut -d' ' -f1; }
export -f own_address

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
variables=$("$PYTHON" -m aae_mx.launch --env --workers "$SLURM_NTASKS" \
  --servers "$SLURM_JOB_NUM_NODES" --address "$(own_address)" \
  --port $((20000 + SLURM_JOB_ID % 10000)))
while read -r variable; do export "${variable?}"; done <<< "$variables"

# The signal of --signal goes to all of a task. Servers pay no attention to it, and bash waits for
# the worker, which saves.
# shellcheck disable=SC2016 # what follows is for the bash of each task
srun --kill-on-bad-exit=1 bash -c '
  trap : TERM
  export DMLC_NODE_HOST=$(own_address)
  test "$SLURM_PROCID" != 0 || DMLC_ROLE=scheduler "$PYTHON" -m aae_mx.launch --serve &
  test "$SLURM_LOCALID" != 0 || DMLC_ROLE=server "$PYTHON" -m aae_mx.launch --serve &
  status=0
  DMLC_ROLE=worker DMLC_TASK_ID=$SLURM_PROCID "$PYTHON" -m aae_mx.train "$@" || status=$?
  test "$status" = 0 || kill -KILL $(jobs -p) 2> /dev/null || true
  wait
  exit "$status"
' task "$@"
