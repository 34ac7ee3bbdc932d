# Sourced by dist_*.sh and slurm_*.sh: which python they use, how ranks start.
tools=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"

die() {
    echo "error: $*" >&2
    exit 1
}

has_torch() {
    "$1" -c 'import sys, importlib.util as util
sys.exit(util.find_spec("torch") is None)' 2>/dev/null
}

python=${PYTHON:-python}
if [ -z "${PYTHON:-}" ] && ! has_torch python; then
    python=$(readlink -f "$tools/..")/.venv/bin/python
    has_torch "$python" || die "python has no torch here, and there is no" \
        "$python: run make env, activate an environment, or set PYTHON."
fi

start_ranks() { # start_ranks GPUS SCRIPT [ARGUMENTS]
    local nodes=${NNODES:-1} node=${NODE_RANK:-0} meet
    [[ $1 =~ ^[1-9][0-9]*$ ]] || die 'the number of GPUs (or CPU processes)' \
        "must be 1 or more, but is '$1'; the order is CONFIG [CHECKPOINT]" \
        'GPUS.'
    [[ $nodes =~ ^[1-9][0-9]*$ && $node =~ ^[0-9]+$ && $node -lt $nodes ]] ||
        die "NNODES must be 1 or more, and NODE_RANK from 0 to NNODES - 1," \
            "but they are '$nodes' and '$node'."
    [ "$nodes" = 1 ] || [ -n "${MASTER_ADDR:-}" ] ||
        die "NNODES=$nodes needs MASTER_ADDR, the address of machine 0."
    if [ "$nodes" = 1 ] && [ -z "${PORT:-}" ]; then
        meet=(--standalone --local-addr=127.0.0.1)
    else
        meet=(--nnodes="$nodes" --node-rank="$node"
            --master-addr="${MASTER_ADDR:-127.0.0.1}"
            --master-port="${PORT:-29500}")
    fi
    exec "$python" "$tools/dist_launch.py" "${meet[@]}" \
        --nproc-per-node="$1" "$tools/$2" "${@:3}" --launcher=pytorch
}

start_slurm_job() { # start_slurm_job PARTITION JOB_NAME SCRIPT [ARGUMENTS]
    local gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
    ((per_node <= gpus)) || per_node=$gpus
    # shellcheck disable=SC2086  # SRUN_ARGS holds several words
    exec srun -p "$1" --job-name="$2" --gres=gpu:"$per_node" \
        --ntasks="$gpus" --ntasks-per-node="$per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} \
        "$python" -u "$tools/$3" "${@:4}" --launcher=slurm
}
