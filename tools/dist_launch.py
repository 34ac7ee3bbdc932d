"""Start the ranks of one machine with torchrun; say in a line what failed.

    python tools/dist_launch.py GPUS SCRIPT [arguments of the script]

Called by dist_train.sh and dist_test.sh, which document the environment
variables NNODES, NODE_RANK, MASTER_ADDR and PORT.
"""

from __future__ import annotations

import os
import signal
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

_STOPPED = 128 + signal.SIGTERM


def rendezvous() -> list[str]:
    """How the machines find each other, as options of torchrun."""
    nodes = int(os.environ.get('NNODES', 1))
    if nodes == 1 and 'PORT' not in os.environ:
        return ['--standalone', '--local-addr=127.0.0.1']
    return [
        f'--nnodes={nodes}',
        f'--node_rank={os.environ.get("NODE_RANK", 0)}',
        f'--master_addr={os.environ.get("MASTER_ADDR", "127.0.0.1")}',
        f'--master_port={os.environ.get("PORT", 29500)}',
    ]


def describe(error: ChildFailedError) -> tuple[str, int]:
    """A sentence and an exit code for ranks that failed."""
    rank, failure = error.get_first_failure()
    code = failure.exitcode
    if code == _STOPPED:
        return 'stopped by SIGTERM; --resume continues the run.', code
    ending = failure.signal_name() if code < 0 else f'exit code {code}'
    return (
        f'error: rank {rank} ended with {ending} and all other ranks were '
        'stopped; the messages above say why.',
        1,
    )


def main() -> None:
    """Launch and wait."""
    ranks, script, *arguments = sys.argv[1:]
    if not ranks.isdigit() or int(ranks) < 1:
        sys.exit(
            'error: the number of GPUs (or CPU processes) must be 1 or more, '
            f'but came {ranks!r}; the order is CONFIG [CHECKPOINT] GPUS.'
        )
    options = [*rendezvous(), f'--nproc_per_node={ranks}']
    try:
        torchrun([*options, script, *arguments, '--launcher=pytorch'])
    except ChildFailedError as error:
        message, code = describe(error)
        print(message, file=sys.stderr)
        sys.exit(code)
    except SignalException as error:
        print(f'stopped by {error.sigval.name}.', file=sys.stderr)
        sys.exit(128 + error.sigval)


if __name__ == '__main__':
    main()
