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
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/launch.sh"
start_ranks "$3" test.py "$1" "$2" "${@:4}"
