"""A layer norm by kernels, with what stands behind it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmvheat.ops import get_compute_dtype, is_autocast

from ..seam import list_plain
from .available import DTYPES, has_kernels
from .params import cast_like


def run_norm(norm: nn.Module, x: Tensor) -> Tensor | None:
    """Run a norm alone."""
    if list_plain(norm) is not None and can_fuse_norm(x):
        return fused_norm(norm, x)
    return None


def normalize_output(
    model: nn.Module, x: Tensor, norm: nn.Module
) -> Tensor | None:
    """Run the norm of an output of the backbone."""
    if list_plain(norm) is not None and can_fuse_norm(x):
        return fused_norm(norm, x, channels_first=True)
    return None


def run_stem(stem: nn.Module, x: Tensor) -> Tensor:
    """Run the stem, whose largest map is not kept in training."""
    x = stem.conv1(x)
    fused = can_fuse_norm(x)

    def run(x: Tensor) -> Tensor:
        if fused:
            return stem.conv2(fused_norm(stem.norm1[0], x, gelu=True))
        return stem.conv2(F.gelu(stem.norm1(x)))

    if torch.is_grad_enabled() and (fused or x.device.type != 'cpu'):
        # The largest map of all is computed again, not kept; the convolution
        # is not, since it hands over its input first.
        settings = dict(preserve_rng_state=False, determinism_check='none')
        x = checkpoint(run, x, use_reentrant=False, **settings)
    else:
        x = run(x)
    return stem.norm2(x)


def can_fuse_norm(x: Tensor) -> bool:
    """Tell whether :func:`fused_norm` takes features."""
    return (
        x.dim() == 4
        and x.dtype in DTYPES
        and x.is_contiguous()
        and has_kernels(x.device, x.dtype, x.shape[-1])
    )


def fused_norm(
    layer: nn.Module,
    x: Tensor,
    channels_first: bool = False,
    gelu: bool = False,
) -> Tensor:
    """Run a layer norm with what stands behind it.

    Args:
        layer (nn.Module): The norm.
        x (Tensor): Features, shape (B, H, W, C).
        channels_first (bool): Return (B, C, H, W). Defaults to False.
        gelu (bool): With GELU, in the dtype of the product that comes next.
            Defaults to False.

    Returns:
        Tensor: Under autocast in single precision, but for ``gelu``.
    """
    dtype = torch.float32 if is_autocast(x) else x.dtype
    if gelu:
        dtype = get_compute_dtype(x)
    args = x, layer.weight, layer.bias, layer.eps, dtype, gelu, channels_first
    if torch.is_grad_enabled():
        return _Norm.apply(*args)
    from .kernels.norm import norm

    return norm(*args)


class _Norm(torch.autograd.Function):
    """Runs a norm in training."""

    @staticmethod
    def forward(ctx, x, weight, bias, *settings) -> Tensor:
        from .kernels.norm import norm

        ctx.save_for_backward(x, weight, bias)
        ctx.settings = settings
        return norm(x, weight, bias, *settings)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        from .kernels.norm import norm_alone_backward

        x, weight, bias = ctx.saved_tensors
        eps, dtype, gelu, channels_first = ctx.settings
        if torch.is_grad_enabled():  # to be differentiated once more
            wanted = [t for t in (x, weight, bias) if t.requires_grad]
            wide, *params = (t.float() for t in (x, weight, bias))
            out = F.layer_norm(wide, x.shape[-1:], *params, eps)
            out = (F.gelu(out) if gelu else out).to(dtype)
            out = out.permute(0, 3, 1, 2) if channels_first else out
            grads = torch.autograd.grad(out, wanted, grad, create_graph=True)
            grads = dict(zip(map(id, wanted), grads))
            return *(grads.get(id(t)) for t in (x, weight, bias)), *[None] * 4
        dx, parts = norm_alone_backward(
            grad.contiguous(), x, weight, bias, eps, gelu, channels_first
        )
        dparams = cast_like(parts.sum((1, 2)), (weight, bias))
        return dx, *dparams, *[None] * 4
