"""Stop a run whose loss or weights are no numbers any more."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmvheat.checkpoint import find_nonfinite

from ..errors import UserError


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop training when the loss becomes NaN or infinite.

    Weights that did are never saved, whichever process met the loss. Under
    a dynamic loss scale (fp16) an iteration may overflow and is then skipped
    by the scaler, so several in a row are allowed; without one the weights
    are spoilt at once.

    Args:
        patience (int): Iterations in a row that may overflow under a loss
            scale. Defaults to 20.
    """

    # Before the checkpoint hook: spoilt weights are never saved.
    priority = 'NORMAL'

    def __init__(self, patience: int = 20) -> None:
        self.patience = patience
        self.bad_in_a_row = 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Check the losses of the iteration.

        Raises:
            UserError: The loss is not finite.
        """
        losses = {
            name: float(torch.as_tensor(value).detach())
            for name, value in (outputs or {}).items()
            if isinstance(value, (float, torch.Tensor))
        }
        if all(map(_is_finite, losses.values())):
            self.bad_in_a_row = 0
            return
        self.bad_in_a_row += 1
        scaled = hasattr(runner.optim_wrapper, 'loss_scaler')
        if scaled and self.bad_in_a_row <= self.patience:
            return
        bad = ', '.join(
            f'{name}={value}'
            for name, value in losses.items()
            if not _is_finite(value)
        )
        rate = next(iter(runner.optim_wrapper.get_lr().values()))[0]
        raise UserError(
            f'The loss is not finite at iteration {runner.iter + 1} ({bad}; '
            f'lr {rate:.3g}); lower the lr, clip gradients with '
            'optim_wrapper.clip_grad, or train in bf16 or fp32, and '
            'continue from the last checkpoint with --resume.'
        )

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
            raise UserError(
                f'{len(bad)} tensors of the model hold NaN or infinity '
                f'({bad[0]} is the first), so that nothing is saved; lower '
                'the lr or clip gradients with optim_wrapper.clip_grad, and '
                'continue from the last checkpoint with --resume.'
            )


def _is_finite(value: float) -> bool:
    return value - value == 0
