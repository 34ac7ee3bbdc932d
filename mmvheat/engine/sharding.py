"""Sharded training (FSDP) of models that do not fit one device."""

from __future__ import annotations

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.dist import is_main_process
from mmengine.optim import BaseOptimWrapper
from mmengine.registry import FUNCTIONS, STRATEGIES
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

from mmvheat.errors import UserError
from mmvheat.models import HeatBlock

from .atomic_backend import AtomicBackend


@FUNCTIONS.register_module()
def shard_vheat(
    module: nn.Module, recurse: bool, nonwrapped_numel: int
) -> bool:
    """Make each block of vHeat a unit; the rest of the model is one more.

    A block uses no parameters but its own, and nobody else uses them.

    Args:
        module (nn.Module): The module in question.
        recurse (bool): Whether to look into its children.
        nonwrapped_numel (int): Its parameters that are in no unit yet.

    Returns:
        bool: The answer to ``recurse``, else whether it becomes a unit.
    """
    return True if recurse else isinstance(module, HeatBlock)


@STRATEGIES.register_module()
class ShardedStrategy(FSDPStrategy):
    """mmengine's ``FSDPStrategy``, ready for vHeat.

    Each process keeps a part of the parameters, gradients and optimizer
    state. Checkpoints hold the whole model, so that any tool reads them. A
    config needs no more than ``runner_type='FlexibleRunner'`` and
    ``strategy=dict(type='ShardedStrategy')``.

    Args:
        model_wrapper (dict, optional): Arguments of
            ``MMFullyShardedDataParallel``; units are chosen by
            :func:`shard_vheat` unless it says otherwise.
        state_dict_cfg (str | dict): How checkpoints are made. Defaults to
            'full', which is whole ones.
        **kwargs: Arguments of ``FSDPStrategy``.
    """

    def __init__(
        self,
        *,
        model_wrapper: dict | None = None,
        state_dict_cfg: str | dict = 'full',
        **kwargs,
    ) -> None:
        model_wrapper = {
            'type': 'MMFullyShardedDataParallel',
            'use_orig_params': True,
            'auto_wrap_policy': 'shard_vheat',
            **(model_wrapper or {}),
        }
        if not torch.cuda.is_available():
            model_wrapper['device_id'] = torch.device('cpu')
            if state_dict_cfg == 'full':
                # On CPU, offloading to the CPU ends in a crash.
                stay = dict(offload_to_cpu=False, rank0_only=False)
                state_dict_cfg = dict(
                    state_dict_type='FULL_STATE_DICT',
                    state_dict_config=dict(type='FullStateDictConfig', **stay),
                    optim_state_dict_config=dict(
                        type='FullOptimStateDictConfig', **stay
                    ),
                )
        super().__init__(
            model_wrapper=model_wrapper,
            state_dict_cfg=state_dict_cfg,
            **kwargs,
        )

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        for parameter in model.parameters():
            # FSDP flattens channels-last weights in memory order, but their
            # optimizer state, when it is loaded, in logical order.
            parameter.data = parameter.data.contiguous()
        return super()._wrap_model(model)

    def build_optim_wrapper(self, *args, **kwargs) -> BaseOptimWrapper:
        """Build the optimizer, which clips gradients by their norm in all.

        Raises:
            UserError: The optimizer is fused and gradients have a loss scale.
        """
        wrapper = super().build_optim_wrapper(*args, **kwargs)
        scaler = getattr(wrapper, 'loss_scaler', None)
        if (
            isinstance(scaler, ShardedGradScaler)
            and scaler.is_enabled()
            and wrapper.optimizer.defaults.get('fused')
        ):
            # https://github.com/pytorch/pytorch/issues/140514
            raise UserError(
                'A fused optimizer fails at the loss scale of sharded fp16 '
                'training; set optim_wrapper.optimizer.fused=False, or train '
                'in bf16, which needs no loss scale.'
            )
        clip = getattr(wrapper, 'clip_func', None)
        if clip is torch.nn.utils.clip_grad_norm_:

            def clip_all(params: list, *args, **kwargs) -> torch.Tensor:
                return self.model.clip_grad_norm_(*args, **kwargs)

            wrapper.clip_func = clip_all
        return wrapper

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the state of the optimizer.

        Args:
            state_dict (dict): The state, as ``optim_state_dict`` gives it.
        """
        # mmengine passes these in an order that torch has changed.
        optimizer = self.optim_wrapper.optimizer
        state = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(state)

    def save_checkpoint(self, filename: str, **kwargs) -> None:
        """Save a checkpoint, whole or not at all.

        Args:
            filename (str): The file.
            **kwargs: Arguments of ``FSDPStrategy.save_checkpoint``.

        Raises:
            UserError: The disk is full or not writable; no file changed.
        """
        if is_main_process() and self._is_full_state_dict():
            with AtomicBackend.replace(filename) as partial:
                super().save_checkpoint(str(partial), **kwargs)
        else:
            super().save_checkpoint(filename, **kwargs)
