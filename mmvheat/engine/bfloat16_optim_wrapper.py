"""Train under bfloat16 autocast on GPU and CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward under bfloat16 autocast, weights and gradients in float32.

    bfloat16 has the range of float32, so no loss scale is needed, and
    unlike mmengine's ``AmpOptimWrapper`` it runs on CPU as well.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter what the base class does, and autocast."""
        device = torch.device(get_device()).type
        autocast = torch.autocast(device, dtype=torch.bfloat16)
        with super().optim_context(model), autocast:
            yield
