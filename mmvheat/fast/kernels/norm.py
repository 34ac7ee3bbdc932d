"""Layer norm with what stands around it in one pass.

Before it a residual sum, behind it GELU, a cast, or channels put first.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

from .launch import choose_rows, like


@triton.jit
def normalize(x, mask, channels, eps):
    mean = tl.sum(x, 1) / channels
    x = tl.where(mask, x - mean[:, None], 0.0)
    scale = 1 / tl.sqrt(tl.sum(x * x, 1) / channels + eps)
    return x * scale[:, None], scale


@triton.jit
def _forward(
    x_ptr, branch_ptr, scale_ptr, shift_ptr, weight_ptr, bias_ptr, sum_ptr,
    out_ptr, rows, image_rows, channels, eps,
    BRANCH: tl.constexpr, SCALE: tl.constexpr, SHIFT: tl.constexpr,
    GELU: tl.constexpr, FIRST: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column = tl.arange(0, C)
    inside = column < channels
    mask = (row < rows)[:, None] & inside[None]
    at = row[:, None] * channels + column[None]
    x = tl.load(x_ptr + at, mask, 0.0).to(tl.float32)
    if BRANCH:
        branch = tl.load(branch_ptr + at, mask, 0.0).to(tl.float32)
        if SCALE:
            scale = tl.load(scale_ptr + row // image_rows, row < rows, 0.0)
            branch *= scale[:, None].to(tl.float32)
        x = (x + branch).to(sum_ptr.dtype.element_ty).to(tl.float32)
        total = x
        if SHIFT:
            shift = tl.load(shift_ptr + column, inside, 0.0).to(tl.float32)
            total += shift[None]
        tl.store(sum_ptr + at, total.to(sum_ptr.dtype.element_ty), mask)
    x, _ = normalize(x, mask, channels, eps)
    weight = tl.load(weight_ptr + column, inside, 0.0).to(tl.float32)
    bias = tl.load(bias_ptr + column, inside, 0.0).to(tl.float32)
    out = x * weight[None] + bias[None]
    if GELU:
        out *= 0.5 * (1 + tl.erf(out * 0.7071067811865476))
    if FIRST:
        image = row // image_rows * image_rows
        at = (image * channels + row - image)[:, None]
        at += column[None] * image_rows
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)


@triton_op('mmvheat::norm', mutates_args={})
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
    out = _make_norm(x, dtype, channels_first)
    rows, channels = x.numel() // x.shape[-1], x.shape[-1]
    grid, sizes = choose_rows(rows, channels)
    if rows:
        wrap_triton(_forward)[grid](
            x, x, x, x, weight, bias, x, out, rows,
            x.shape[1] * x.shape[2], channels, eps, BRANCH=False, SCALE=False,
            SHIFT=False, GELU=gelu, FIRST=channels_first, **sizes,
        )  # fmt: skip
    return out


@triton_op('mmvheat::add_norm', mutates_args={})
def add_norm(
    x: Tensor,
    branch: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Add a branch to x (B, H, W, C), and normalise the sum.

    The branch is multiplied by a scale (B,) of its image. A shift (C,) goes
    to the sum that is returned, not to the one that is normalised.
    """
    total, out = like(x, x.dtype), like(x, dtype)
    rows, channels = x.numel() // x.shape[-1], x.shape[-1]
    grid, sizes = choose_rows(rows, channels)
    if rows:
        wrap_triton(_forward)[grid](
            x, branch, x if scale is None else scale,
            x if shift is None else shift, weight, bias, total, out, rows,
            x.shape[1] * x.shape[2], channels, eps, BRANCH=True,
            SCALE=scale is not None, SHIFT=shift is not None, GELU=False,
            FIRST=False, **sizes,
        )  # fmt: skip
    return total, out


def _make_norm(x: Tensor, dtype: torch.dtype, first: bool) -> Tensor:
    shape = x.shape[:1] + x.shape[-1:] + x.shape[1:3] if first else x.shape
    return x.new_empty(shape, dtype=dtype)


norm.register_fake(
    lambda x, weight, bias, eps, dtype, gelu=False, channels_first=False: (
        _make_norm(x, dtype, channels_first)
    )
)
add_norm.register_fake(lambda x, *args: (like(x, x.dtype), like(x, args[-1])))
