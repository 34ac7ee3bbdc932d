#!/usr/bin/env bash
# Test on a Slurm cluster.
#
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options]
#
# The options are those of tools/test.py; the environment variables are as in
# slurm_train.sh.
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options]" >&2
    exit 2
fi
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/launch.sh"
start_slurm_job "$1" "$2" test.py "$3" "$4" "${@:5}"
