"""Run torchrun and say in the last line which rank failed, and how.

Takes torchrun's own arguments; called by dist_train.sh and dist_test.sh.
"""

from __future__ import annotations

import signal
import sys

from torch import distributed
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

# torch 2.1 has no name for what ends a meeting.
DistError = getattr(distributed, 'DistError', RuntimeError)


def launch() -> tuple[int, str]:
    """An exit code, 128 + the signal if one came, and the last line."""
    stopped = 'stopped by {}; --resume continues a training.'
    try:
        torchrun()
    except SignalException as error:
        return 128 + error.sigval, stopped.format(error.sigval.name)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        if code == 128 + signal.SIGTERM:
            return code, stopped.format('SIGTERM')
        how = failure.signal_name() if code < 0 else f'exit code {code}'
        return 1, (
            f'error: rank {rank} ended with {how} and all other ranks were '
            'stopped; the messages above say why.'
        )
    except DistError as error:
        return 1, (
            'error: the machines did not meet at MASTER_ADDR and PORT, which '
            f'machine 0 must have free: {str(error).splitlines()[0]}'
        )
    return 0, ''


if __name__ == '__main__':
    code, line = launch()
    if line:
        print(line, file=sys.stderr)
    sys.exit(code)
