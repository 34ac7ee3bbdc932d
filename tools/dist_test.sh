#!/usr/bin/env bash
# Test on several GPUs (or CPU processes), on one machine or many.
#
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
#
# NNODES, NODE_RANK, MASTER_ADDR, PORT and PYTHON are as in dist_train.sh.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [options of tools/test.py]" >&2
    exit 2
fi
tools=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python}" "$tools/dist_launch.py" "$3" \
    "$tools/test.py" "$1" "$2" "${@:4}"
