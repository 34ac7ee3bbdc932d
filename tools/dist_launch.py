"""Start the ranks of one machine with torchrun; say in a line what failed.

    python tools/dist_launch.py GPUS SCRIPT [arguments of the script]

Called by dist_train.sh and dist_test.sh, which document the environment
variables NNODES, NODE_RANK, MASTER_ADDR and PORT.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

_STOPPED = 128 + signal.SIGTERM


def read_number(name: str, default: int, low: int, high: int) -> int:
    """A whole number from the environment; others end the program."""
    text = os.environ.get(name, str(default))
    if not text.isdigit() or not low <= int(text) <= high:
        sys.exit(
            f'error: {name} must be a number from {low} to {high}, but is '
            f'{text!r}.'
        )
    return int(text)


def rendezvous() -> list[str]:
    """How the machines find each other, as options of torchrun."""
    nodes = read_number('NNODES', 1, 1, 100_000)
    if nodes == 1 and 'PORT' not in os.environ:
        return ['--standalone', '--local-addr=127.0.0.1']
    if nodes > 1 and 'MASTER_ADDR' not in os.environ:
        sys.exit(
            f'error: NNODES={nodes} needs MASTER_ADDR, the address of the '
            'machine with NODE_RANK=0.'
        )
    node = read_number('NODE_RANK', 0, 0, nodes - 1)
    port = read_number('PORT', 29500, 1, 65535)
    if node == 0 and is_taken(port):
        sys.exit(
            f'error: port {port} of this machine is taken; set PORT to '
            'another one, the same on every machine.'
        )
    address = os.environ.get('MASTER_ADDR', '127.0.0.1')
    return [
        f'--nnodes={nodes}',
        f'--node_rank={node}',
        f'--master_addr={address}',
        f'--master_port={port}',
    ]


def is_taken(port: int) -> bool:
    """Whether another program listens on a port of this machine."""
    with socket.socket() as probe:
        # As the store of torch does, else a run that has just ended counts.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('', port))
        except OSError:
            return True
    return False


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
