#!/usr/bin/env bash
# Train on several GPUs (or CPU processes), on one machine or many.
#
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
#
# Many machines: run it on each, with the same NNODES, MASTER_ADDR and PORT
# and with NODE_RANK=0, 1, ...; GPUS counts those of one machine.
#
#   NNODES       machines                          (default 1)
#   NODE_RANK    which of them this is             (default 0)
#   MASTER_ADDR  address of machine 0              (one machine: not needed)
#   PORT         port on machine 0  (default 29500; one machine: a free one)
#   PYTHON       the python to use  (default: the active environment's if it
#                has torch, else the one that make env built)
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [options of tools/train.py]" >&2
    exit 2
fi
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/launch.sh"
start_ranks "$2" train.py "$1" "${@:3}"
