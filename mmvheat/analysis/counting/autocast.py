"""CUDA's autocast on the meta device, which has none of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


class CudaAutocast(TorchFunctionMode):
    """Casts on the meta device as CUDA's autocast does on CUDA.

    Lists of torch's ``autocast_mode.h``; weights are cast once.

    Args:
        dtype (torch.dtype): Half precision.
    """

    _LOWER = {'linear', 'conv1d', 'conv2d', 'conv3d', 'prelu', 'einsum'}
    _LOWER |= {'conv_transpose1d', 'conv_transpose2d', 'conv_transpose3d'}
    _LOWER |= {'matmul', '__matmul__', 'mm', 'mv', 'bmm', 'addmm', 'addmv'}
    _LOWER |= {'addbmm', 'baddbmm', 'scaled_dot_product_attention'}
    # A function of functions, which are not seen inside.
    _LOWER |= {'multi_head_attention_forward'}
    _SINGLE = {'layer_norm', 'group_norm', 'softmax', 'log_softmax', 'norm'}
    _SINGLE |= {'exp', 'log', 'pow', 'sum', 'prod', 'cumsum', 'mse_loss'}

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.weights: dict[int, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> CudaAutocast:
        self.stack = ExitStack()
        # torch.autocast, which checkpointing enters again, asks for a GPU.
        for name, value in (
            ('cuda.amp.common.amp_definitely_not_available', False),
            ('cuda.is_bf16_supported', True),
        ):
            patch = mock.patch(f'torch.{name}', lambda *_, v=value: v)
            self.stack.enter_context(patch)
        self.stack.enter_context(torch.autocast('cuda', self.dtype))
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.stack.close()
        self.weights.clear()

    def __torch_function__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs=None
    ) -> object:
        """Cast the arguments of a function, and call it."""
        kwargs = kwargs or {}
        name = getattr(func, '__name__', '')
        if torch.is_autocast_enabled('cuda'):
            if name in self._LOWER:
                args, kwargs = tree_map(self._lower, (args, kwargs))
            elif name in self._SINGLE:
                args, kwargs = tree_map(_to_single, (args, kwargs))
        return func(*args, **kwargs)

    def _lower(self, x: object) -> object:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return x
        if x.dtype in (self.dtype, torch.float64):
            return x
        if not (x.is_leaf and x.requires_grad and torch.is_grad_enabled()):
            return x.to(self.dtype)
        if id(x) not in self.weights:
            self.weights[id(x)] = x, x.to(self.dtype)
        return self.weights[id(x)][1]


def _to_single(x: object) -> object:
    half = isinstance(x, Tensor) and x.dtype in (
        torch.float16,
        torch.bfloat16,
    )
    return x.float() if half else x
