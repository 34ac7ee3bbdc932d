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
#   PYTHON         the python to use              (default python)
# On pre-emption (SIGTERM) the run saves and ends; the same command with
# --resume continues it.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG [WORK_DIR] [options]" >&2
    exit 2
fi
tools=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
partition=$1 job_name=$2 config=$3
shift 3
work_dir=()
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
    work_dir=(--work-dir "$1")
    shift
fi
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
[ "$per_node" -le "$gpus" ] || per_node=$gpus
export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
# shellcheck disable=SC2086  # SRUN_ARGS holds several words
exec srun -p "$partition" --job-name="$job_name" \
    --gres=gpu:"$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$tools/train.py" "$config" "${work_dir[@]}" \
    --launcher=slurm "$@"
