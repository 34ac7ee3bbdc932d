"""Layer norm with what stands around it in one pass.

Before it a residual sum, behind it GELU, a cast, or channels put first.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .functions import load_row, locate, locate_first, normal_cdf, normalize
from .launch import cut, launch, like, make_parts, operator
from .norm_backward import TILE, launch_backward


@triton.jit
def _forward(
    x_ptr, branch_ptr, more_ptr, scale_ptr, shift_ptr, weight_ptr, bias_ptr,
    sum_ptr, out_ptr, cells, channels, eps,
    BRANCH: tl.constexpr, SCALE: tl.constexpr, SHIFT: tl.constexpr,
    GELU: tl.constexpr, FIRST: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    cell, column, mask, at = locate(tl.program_id(0), cells, channels, R, C)
    x = tl.load(x_ptr + at, mask, 0.0).to(tl.float32)
    if BRANCH:
        branch = tl.load(branch_ptr + at, mask, 0.0).to(tl.float32)
        branch += load_row(more_ptr, column, channels)
        if SCALE:
            branch *= tl.load(scale_ptr + tl.program_id(1)).to(tl.float32)
        x = (x + branch).to(sum_ptr.dtype.element_ty).to(tl.float32)
        total = x
        if SHIFT:
            total += load_row(shift_ptr, column, channels)
        tl.store(sum_ptr + at, total.to(sum_ptr.dtype.element_ty), mask)
    x, _ = normalize(x, mask, channels, eps)
    out = x * load_row(weight_ptr, column, channels)
    out += load_row(bias_ptr, column, channels)
    if GELU:
        out *= normal_cdf(out)
    if FIRST:
        at = locate_first(cell, column, cells, channels)
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)


def _make_norm(
    x: Tensor, weight, bias, eps, dtype, gelu=False, channels_first=False
) -> Tensor:
    shape = x.shape
    if channels_first:
        shape = x.shape[:1] + x.shape[-1:] + x.shape[1:3]
    return x.new_empty(shape, dtype=dtype)


@operator(_make_norm)
def norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dtype: torch.dtype,
    gelu: bool = False,
    channels_first: bool = False,
) -> Tensor:
    """Layer norm of x (B, H, W, C) in a dtype.

    Perhaps with GELU behind it, perhaps as (B, C, H, W).
    """
    out = _make_norm(x, weight, bias, eps, dtype, gelu, channels_first)
    _launch(
        x, x, x, None, None, weight, bias, x, out, eps, gelu, channels_first
    )
    return out


def _make_gradients(
    grad, x: Tensor, weight, bias, eps, gelu, channels_first
) -> tuple[Tensor, Tensor]:
    return like(x), make_parts(x, TILE)


@operator(_make_gradients)
def norm_alone_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    gelu: bool,
    channels_first: bool,
) -> tuple[Tensor, Tensor]:
    """Differentiate :func:`norm` of x (B, H, W, C).

    Returns the gradient of x and parts of those of weight and bias,
    (2, B, parts, C).
    """
    dx, parts = like(x), make_parts(x, TILE)
    launch_backward(
        grad, x, None, weight, bias, eps, None, dx, dx, dx, parts, gelu,
        channels_first,
    )  # fmt: skip
    return dx, parts


def _make_sum(
    x: Tensor, branch, more, scale, shift, weight, bias, eps, dtype
) -> tuple[Tensor, Tensor]:
    return like(x), like(x, dtype)


@operator(_make_sum)
def add_norm(
    x: Tensor,
    branch: Tensor,
    more: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Add a branch to x (B, H, W, C), and normalise the sum.

    Before, ``more`` (C,) is added to the branch, and both are multiplied by a
    scale (B,). A shift (C,) goes to the sum that is returned, not to the one
    that is normalised.
    """
    total, out = like(x), like(x, dtype)
    _launch(x, branch, more, scale, shift, weight, bias, total, out, eps)
    return total, out


def _launch(
    x, branch, more, scale, shift, weight, bias, total, out, eps,
    gelu=False, first=False,
) -> None:  # fmt: skip
    grid, sizes = cut(x)
    launch(
        _forward, grid, x, branch, more, x if scale is None else scale,
        x if shift is None else shift, weight, bias, total, out,
        x.shape[1] * x.shape[2], x.shape[3], eps, BRANCH=total is not x,
        SCALE=scale is not None, SHIFT=shift is not None, GELU=gelu,
        FIRST=first, **sizes,
    )  # fmt: skip
