"""Stop a run whose loss or weights are no numbers any more."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmvheat.checkpoint import find_nonfinite
from mmvheat.errors import UserError


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop training when the loss becomes NaN or infinite.

    Weights that did are never saved. mmdet's ``CheckInvalidLossHook`` knows
    neither them nor a loss scale, and mmseg and mmpretrain have none. Under
    a dynamic loss scale (fp16) an iteration may overflow and is then skipped
    by the scaler; three checks in a row may not.

    Args:
        interval (int): Iterations between two checks, each of which waits
            for the device. Defaults to 50.
    """

    # Before the checkpoint hook: spoilt weights are never saved.
    priority = 'NORMAL'

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self.bad_in_a_row = 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Check the loss of the iteration.

        Raises:
            UserError: It is not finite.
        """
        if not self.every_n_train_iters(runner, self.interval):
            return
        bad = ', '.join(
            f'{name}={float(value)}'
            for name, value in (outputs or {}).items()
            if isinstance(value, (float, torch.Tensor))
            and not torch.as_tensor(value).isfinite().all()
        )
        self.bad_in_a_row = self.bad_in_a_row + 1 if bad else 0
        scaled = hasattr(runner.optim_wrapper, 'loss_scaler')
        if self.bad_in_a_row > (2 if scaled else 0):
            raise UserError(_advise(runner, f'The loss is not finite ({bad})'))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights that are about to be saved.

        Raises:
            UserError: Some are not finite.
        """
        weights = checkpoint['state_dict'].items()
        bad = find_nonfinite(
            {k: v for k, v in weights if isinstance(v, torch.Tensor)}
        )
        if bad:
            fault = f'{len(bad)} tensors of the model, {bad[0]} the first, '
            fault += 'are not finite and not saved'
            raise UserError(_advise(runner, fault))


def _advise(runner: Runner, fault: str) -> str:
    rate = next(iter(runner.optim_wrapper.get_lr().values()))[0]
    return (
        f'{fault} at iteration {runner.iter + 1} (lr {rate:.3g}); lower the '
        'lr, clip gradients with optim_wrapper.clip_grad, or train in bf16 '
        'or fp32, and continue from the last checkpoint with --resume.'
    )
