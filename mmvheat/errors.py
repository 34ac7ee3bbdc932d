"""Errors that a user can act on, told in one sentence."""

from __future__ import annotations

import atexit
import errno
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable

import torch
import torch.distributed as dist
from mmengine.logging import MMLogger
from torch.optim import Optimizer

from mmvheat.checkpoint import CheckpointError
from mmvheat.ops.versions import IS_BEFORE_2_6

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_CONFIG_FAULTS = ('mmengine.registry.', 'torch.optim.')
_BUILT = ('mmengine.', 'mmdet.', 'mmseg.', 'mmpretrain.', 'mmvheat.')


class UserError(Exception):
    """A fault in what the user gave (path, config, data, disk).

    The message is one sentence: what was expected, what came, what to do.
    """


def require_torch_2_6(what: str) -> None:
    """Refuse what torch can do since 2.6 alone.

    Raises:
        UserError: This torch is older.
    """
    if IS_BEFORE_2_6:
        raise UserError(
            f'{what} needs torch >= 2.6, but here is torch '
            f'{torch.__version__}: use another environment'
        )


def is_local_main() -> bool:
    """Whether this process speaks for its machine (local rank 0)."""
    rank = os.environ.get('LOCAL_RANK', os.environ.get('SLURM_LOCALID', '0'))
    return int(rank) == 0


def run_main(main: Callable[[], int | None]) -> None:
    """Run ``main`` and end the process, without a traceback for user errors.

    Exit codes: what ``main`` returned, 1 user error, 130 interrupted by the
    keyboard, 143 stopped by SIGTERM after saving. ``MMVHEAT_TRACEBACK=1``
    shows the traceback of a user error.

    Args:
        main (Callable): The command to run; returns an exit code or None.
    """
    # Said by mmengine whenever it looks for a package.
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    try:
        code = main()
        if dist.is_initialized():
            # A rank that just exits may break the others' connections.
            dist.barrier()
            dist.destroy_process_group()
            _exit_at_once()
        if code:
            sys.exit(code)
    except KeyboardInterrupt:
        _report(
            'Interrupted by the keyboard; saved checkpoints are intact, '
            '--resume continues from the newest.'
        )
        sys.exit(130)
    except Exception as error:
        message = _explain(error)
        if message is None or os.environ.get('MMVHEAT_TRACEBACK'):
            raise
        if not is_local_main():
            # What rank 0 reports as well ends this process meanwhile.
            time.sleep(3)
        _report(message)
        sys.exit(1)


def _report(message: str) -> None:
    """Write ``message`` to stderr and to the log file of the run, if any."""
    print(f'error: {message}', file=sys.stderr, flush=True)
    logger = MMLogger.get_current_instance()
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, message, (), None
    )
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _exit_at_once() -> None:
    """End a rank that is done without the destructors of its libraries.

    Threads that they left behind can make a finished rank abort, at which
    its launcher stops the others.
    """
    atexit._run_exitfuncs()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _explain(error: Exception) -> str | None:
    """The sentence for a user error; None for any other error."""
    if isinstance(error, (UserError, CheckpointError)):
        # A data worker sends its whole traceback; the sentence ends it.
        sentence = str(error).strip().splitlines()[-1]
        return sentence.removeprefix(f'{__name__}.UserError: ')
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return (
            f'The disk is full ({error.filename or "a log"} could not be '
            'written); saved checkpoints are intact, make room and continue '
            'with --resume.'
        )
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if any(frame.f_code.co_name == '_serialize_data' for frame in frames):
        return (
            'No usable image is left of a data set; check its images, its '
            'annotations and filter_cfg.'
        )
    # A registry or the building of an optimizer itself objects, not what was
    # built, or what was built knows no such argument.
    parts = _CONFIG_FAULTS
    if 'got an unexpected keyword argument' in str(error):
        parts += _BUILT
    place = frames[-1].f_globals.get('__name__', '')
    if place.startswith('torch.optim.'):
        # A step may fail as well, and that is no fault of the config.
        built = any(
            frame.f_code.co_name == '__init__'
            and isinstance(frame.f_locals.get('self'), Optimizer)
            for frame in frames
        )
        parts = parts if built else ()
    if place.startswith(parts):
        reason = ' '.join(str(error).split())
        return f'The config does not build: {type(error).__name__}: {reason}'
    return None
