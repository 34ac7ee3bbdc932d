"""Train with a backbone that is replayed as a CUDA graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from mmvheat.errors import UserError
from mmvheat.fast.gpu.replay import Replay
from mmvheat.models.arch import parse_img_size


@HOOKS.register_module()
class CUDAGraphHook(Hook):
    """Record training of the backbone once, and replay it as CUDA graphs.

    Only whole training batches of one size are replayed, see
    docs/training.md.

    Args:
        size (int | Sequence[int]): Height and width in pixels of the images
            that the backbone gets in training.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = parse_img_size(size)
        self.replay: Replay | None = None

    def before_train(self, runner: Runner) -> None:
        """Record, before threads of the data loader call CUDA.

        Raises:
            UserError: The run has what a recording would spoil.
            RuntimeError: The backbone cannot be recorded.
        """
        if not torch.cuda.is_available():
            runner.logger.warning('CUDAGraphHook does nothing without CUDA.')
            return
        backbone = find_backbone(runner)
        batch = runner.train_dataloader.batch_sampler.batch_size
        device = next(backbone.parameters()).device
        images = torch.zeros(batch, 3, *self.size, device=device)
        runner.model.train()
        try:
            self.replay = Replay(
                backbone,
                images,
                lambda: runner.optim_wrapper.optim_context(runner.model),
                runner.logger.warning,
            )
        except Exception as error:
            raise RuntimeError(
                'Training of the backbone cannot be recorded as CUDA graphs '
                f'at {tuple(images.shape)}, for the reason above; take '
                'CUDAGraphHook out of the config to train without them.'
            ) from error

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Allow one replay in the iteration."""
        if self.replay is not None:
            self.replay.arm()

    def after_train(self, runner: Runner) -> None:
        """Put the plain forward back."""
        if self.replay is not None:
            del self.replay.module.forward
            self.replay = None


def find_backbone(runner: Runner) -> nn.Module:
    """Find the backbone of a run that can be recorded.

    Raises:
        UserError: There is none, or it cannot.
    """
    model, cfg = runner.model, runner.cfg
    if isinstance(model, MMDistributedDataParallel):
        model = model.module
    backbone = getattr(model, 'backbone', None)
    layers = [] if backbone is None else list(backbone.modules())
    recomputed = any(getattr(layer, 'with_cp', False) for layer in layers)
    hooked = any(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or 'forward' in vars(layer)
        for layer in layers
    )
    obstacles = {
        'FlexibleRunner': hasattr(runner, 'strategy'),
        type(model).__name__: is_model_wrapper(model),  # sharded
        'a model without a backbone': backbone is None,
        'compile': cfg.get('compile', False) not in (None, False),
        # It would draw other random numbers on the way back.
        'activation checkpointing (with_cp)': recomputed
        or cfg.get('activation_checkpointing'),
        'hooks in the backbone, which a replay would not call': hooked,
    }
    for obstacle, found in obstacles.items():
        if found:
            raise UserError(
                f'CUDAGraphHook does not go with {obstacle}; take one of the '
                'two out of the config.'
            )
    return backbone
