"""Save a checkpoint when the job is told to end."""

from __future__ import annotations

import os
import os.path as osp
import signal

import torch
import torch.distributed as dist
from mmengine.dist import is_distributed, is_main_process, master_only
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class SaveOnSignalHook(Hook):
    """On SIGTERM save at the next iteration boundary and exit with 143.

    Schedulers pre-empt jobs by SIGTERM. The ranks may get it in different
    iterations, so they agree on one by a tiny all-reduce over gloo, which
    does not stall a GPU. The checkpoint is ``interrupted.pth`` in the work
    dir; ``--resume`` finds it and repeats a validation that was interrupted.

    Args:
        filename (str): The checkpoint. Defaults to ``'interrupted.pth'``.
    """

    # After every hook that changes what a checkpoint holds.
    priority = 'LOWEST'

    def __init__(self, filename: str = 'interrupted.pth') -> None:
        self.filename = filename
        self.requested = False
        self.group = None
        self.validating = False

    def before_run(self, runner: Runner) -> None:
        """Take over SIGTERM."""
        signal.signal(signal.SIGTERM, self._on_signal)
        if is_distributed():
            self.group = dist.new_group(backend='gloo')

    def _on_signal(self, number: int, frame: object) -> None:
        self.requested = True

    def _all_agree(self) -> bool:
        if self.group is None:
            return self.requested
        flag = torch.tensor(int(self.requested))
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self.group)
        return bool(flag)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Save and exit between two iterations."""
        if self._all_agree():
            self._save_and_exit(runner)

    def after_val_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Save and exit within a validation."""
        sampler = runner.val_dataloader.sampler
        if self.group is not None and not getattr(sampler, 'round_up', False):
            return  # the ranks may not validate the same number of batches
        if self._all_agree():
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

    def before_train(self, runner: Runner) -> None:
        """Repeat a validation that was interrupted."""
        if self.validating and runner.iter and runner.val_loop is not None:
            self.validating = False
            runner.val_loop.run()

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Remove a checkpoint that a finished run needs no more."""
        path = osp.join(runner.work_dir, self.filename)
        if osp.exists(path):
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
        if self.group is not None:
            dist.barrier(group=self.group)
        raise SystemExit(128 + signal.SIGTERM)
