"""Save a checkpoint when the job is told to end."""

from __future__ import annotations

import os
import os.path as osp
import signal
import threading
from collections.abc import Callable

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.dist import (
    all_reduce,
    barrier,
    is_distributed,
    is_main_process,
)
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import DataLoader


@HOOKS.register_module()
class SaveOnSignalHook(Hook):
    """On SIGTERM save at an iteration boundary and exit with code 143.

    Schedulers pre-empt jobs by SIGTERM. The ranks may get it in different
    iterations, so they agree on one: every ``interval`` iterations by one
    number that they reduce, and waits for the step of accumulated gradients.
    The checkpoint is ``interrupted.pth`` in the work dir; ``--resume`` finds
    it and repeats a validation that was interrupted.

    Args:
        interval (int): Iterations between two agreements of several
            processes; a single process stops at once. Defaults to 10.
        filename (str): The checkpoint. Defaults to ``'interrupted.pth'``.
    """

    # After every hook that changes what a checkpoint holds.
    priority = 'LOWEST'

    def __init__(
        self, interval: int = 10, filename: str = 'interrupted.pth'
    ) -> None:
        self.interval = interval
        self.filename = filename
        self.requested = self.agreed = self.validating = False

    def before_train(self, runner: Runner) -> None:
        """Take over SIGTERM; repeat an interrupted validation."""
        self.previous = signal.signal(signal.SIGTERM, self._on_signal)
        loops = [runner.train_loop]
        if runner.val_loop is not None:
            loops.append(runner.val_loop)
        for loop in loops:
            loader = loop.dataloader
            if isinstance(loader, DataLoader):
                loader.worker_init_fn = WorkerInit(loader.worker_init_fn)
        if self.validating and runner.iter and runner.val_loop is not None:
            self.validating = False
            runner.val_loop.run()

    def _on_signal(self, number: int, frame: object) -> None:
        self.requested = True

    def _all_agree(self, iteration: int) -> bool:
        if not is_distributed():
            return self.requested
        if (iteration + 1) % self.interval:
            return False
        flag = torch.tensor(int(self.requested), device=get_device())
        all_reduce(flag, 'max')
        return bool(flag)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Save and exit between two iterations."""
        self.agreed = self.agreed or self._all_agree(runner.iter)
        # What is accumulated between two steps is in no checkpoint.
        steps = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if self.agreed and (runner.iter + 1) % steps == 0:
            self._save_and_exit(runner)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, *args, **kwargs
    ) -> None:
        """Save and exit within a validation."""
        sampler = runner.val_dataloader.sampler
        if is_distributed() and not getattr(sampler, 'round_up', False):
            return  # the ranks may not validate the same number of batches
        if self._all_agree(batch_idx):
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    # Validation swapped the averaged weights in.
                    hook._swap_ema_parameters()
            # What is saved is taken for the end of an iteration.
            runner.train_loop._iter -= 1
            self.validating = True
            self._save_and_exit(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note whether a validation is being interrupted."""
        checkpoint['meta']['validating'] = self.validating

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read whether a validation was interrupted."""
        meta = checkpoint.get('meta') or {}
        self.validating = meta.get('validating', False)

    def after_train(self, runner: Runner) -> None:
        """Remove a checkpoint that a finished run needs no more."""
        signal.signal(signal.SIGTERM, self.previous or signal.SIG_DFL)
        path = osp.join(runner.work_dir, self.filename)
        if is_main_process() and osp.exists(path):
            os.remove(path)

    def _save_and_exit(self, runner: Runner) -> None:
        runner.save_checkpoint(
            runner.work_dir,
            self.filename,
            by_epoch=False,
            backend_args=dict(backend='atomic'),
        )
        path = osp.join(runner.work_dir, self.filename)
        if is_main_process():
            with open(osp.join(runner.work_dir, 'last_checkpoint'), 'w') as f:
                f.write(path)
        runner.logger.warning(
            f'Stopped by SIGTERM at iteration {runner.iter + 1}; the state '
            f'is in {path}, continue with --resume.'
        )
        if is_distributed():
            barrier()
            dist.destroy_process_group()
        raise SystemExit(128 + signal.SIGTERM)


class WorkerInit:
    """Start a data worker that outlives a SIGTERM sent to the whole job.

    The main process needs its workers to finish the iteration and save.

    Args:
        init (Callable, optional): The worker init function to run first.
    """

    def __init__(self, init: Callable | None) -> None:
        self.init = init

    def __call__(self, worker_id: int) -> None:
        if hasattr(signal, 'sigwaitinfo'):  # not on macOS
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=_obey_parent_alone, daemon=True).start()
        if self.init is not None:
            self.init(worker_id)


def _obey_parent_alone() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
