#!/usr/bin/env bash
# Train on a Slurm cluster.
#
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [WORK_DIR] [options]
#
# The options are those of tools/train.py. Environment variables:
#   GPUS           all GPUs of the job            (default 8)
#   GPUS_PER_NODE  GPUs of one machine            (default 8, at most GPUS)
#   CPUS_PER_TASK  CPU cores for each GPU         (default 5)
#   SRUN_ARGS      further options of srun
#   PYTHON         the python to use              (default as dist_train.sh)
# On pre-emption (SIGTERM) the run saves and ends; the same command with
# --resume continues it.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [WORK_DIR] [options]" >&2
    exit 2
fi
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/launch.sh"
if [[ ${4:--} = -* ]]; then
    start_slurm_job "$1" "$2" train.py "$3" "${@:4}"
fi
start_slurm_job "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"
