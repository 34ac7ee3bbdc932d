"""A layer norm by kernels, with what stands behind it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvheat.ops import is_autocast

from .available import DTYPES, has_kernels
from .params import cast_like


def can_fuse_norm(x: Tensor) -> bool:
    """Tell whether :func:`fused_norm` takes features."""
    return (
        x.dim() == 4
        and x.dtype in DTYPES
        and x.is_contiguous()
        and has_kernels(x.device, x.dtype, x.shape[-1])
    )


def fused_norm(layer: nn.Module, x: Tensor, **options: bool) -> Tensor:
    """Run a layer norm with what stands behind it.

    Args:
        layer (nn.Module): The norm.
        x (Tensor): Features, shape (B, H, W, C).
        options (bool): ``channels_first`` for (B, C, H, W), and ``gelu``,
            which has no gradient.
    """
    from .kernels import norm

    dtype = torch.float32 if is_autocast(x) else x.dtype
    args = x, layer.weight, layer.bias, layer.eps, dtype
    if torch.is_grad_enabled():
        return _Norm.apply(*args, *options.values())
    return norm.norm(*args, **options)


class _Norm(torch.autograd.Function):
    """Runs a norm in training."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps, dtype, channels_first=False):
        from .kernels import norm

        ctx.save_for_backward(x, weight, bias)
        ctx.settings = eps, dtype, channels_first
        return norm.norm(
            x, weight, bias, eps, dtype, channels_first=channels_first
        )

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        from .kernels import norm_alone_backward

        x, weight, bias = ctx.saved_tensors
        eps, dtype, channels_first = ctx.settings
        if channels_first:
            grad = grad.permute(0, 2, 3, 1)
        if torch.is_grad_enabled():  # to be differentiated once more
            wanted = [t for t in (x, weight, bias) if t.requires_grad]
            params = weight.to(dtype), bias.to(dtype)
            out = F.layer_norm(x.to(dtype), x.shape[-1:], *params, eps)
            grads = torch.autograd.grad(out, wanted, grad, create_graph=True)
            grads = dict(zip(map(id, wanted), grads))
            return *(grads.get(id(t)) for t in (x, weight, bias)), *[None] * 3
        dx, parts = norm_alone_backward(grad.contiguous(), x, weight, eps)
        dparams = cast_like(parts.sum((1, 2)), (weight, bias))
        return dx, *dparams, None, None, None
