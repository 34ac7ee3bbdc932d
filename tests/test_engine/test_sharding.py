"""What sharded training refuses before its first step."""

from types import SimpleNamespace

import pytest
import torch
from mmengine._strategy import FSDPStrategy
from torch import nn
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

from mmvheat.engine import ShardedStrategy
from mmvheat.errors import UserError


@pytest.mark.parametrize(
    ('fused', 'scaled', 'refused'),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_fused_optimizer_with_a_loss_scale(
    monkeypatch, fused, scaled, refused
):
    wrapper = SimpleNamespace(
        optimizer=torch.optim.AdamW(nn.Linear(2, 2).parameters(), fused=fused),
        loss_scaler=ShardedGradScaler(
            'cpu', enabled=scaled, process_group=None
        ),
    )
    monkeypatch.setattr(
        FSDPStrategy, 'build_optim_wrapper', lambda *_, **__: wrapper
    )
    strategy = object.__new__(ShardedStrategy)
    if refused:
        with pytest.raises(UserError, match=r'optimizer\.fused=False'):
            strategy.build_optim_wrapper({})
    else:
        assert strategy.build_optim_wrapper({}) is wrapper
