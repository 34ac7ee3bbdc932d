"""The second branch of a block, its sums included, in one pass.

Residual sum, norm, product, GELU, product, residual sum. A program holds all
channels of its cells, and takes the hidden ones in turn.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .functions import (
    load_row,
    load_weights,
    locate_inside,
    normal_cdf,
    normalize,
)
from .launch import divide, launch, like, operator

TILE = dict(elements=8192, rows=64)


@triton.jit
def _forward(
    x_ptr, branch_ptr, more_ptr, scale_ptr, norm_weight_ptr, norm_bias_ptr,
    weight1_ptr, bias1_ptr, weight2_ptr, bias2_ptr, scale2_ptr, sum_ptr,
    hidden_ptr, out_ptr, cells, channels, width, eps,
    KEEP: tl.constexpr, SCALE: tl.constexpr, PRECISION: tl.constexpr,
    WIDEN: tl.constexpr, R: tl.constexpr, C: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    low: tl.constexpr = weight1_ptr.dtype.element_ty
    image = tl.program_id(1).to(tl.int64)
    cell, column, mask, at = locate_inside(cells, channels, R, C)
    first = image * cells * channels
    x = tl.load(x_ptr + first + at, mask, 0.0).to(tl.float32)
    branch = tl.load(branch_ptr + first + at, mask, 0.0).to(tl.float32)
    branch += load_row(more_ptr, column, channels)
    if SCALE:
        branch *= tl.load(scale_ptr + image).to(tl.float32)
    x = (x + branch).to(out_ptr.dtype.element_ty).to(tl.float32)
    if KEEP:
        tl.store(sum_ptr + first + at, x.to(sum_ptr.dtype.element_ty), mask)
    below, _ = normalize(x, mask, channels, eps)
    below = below * load_row(norm_weight_ptr, column, channels)
    below = (below + load_row(norm_bias_ptr, column, channels)).to(low)
    if WIDEN:
        below = below.to(tl.float32)
    total = tl.zeros((R, C), tl.float32)
    for start in range(0, width, N):
        unit = start + tl.arange(0, N)
        weight1, weight2 = load_weights(
            weight1_ptr, weight2_ptr, unit, column, width, channels, WIDEN
        )
        hidden = tl.dot(below, tl.trans(weight1), input_precision=PRECISION)
        hidden = hidden.to(low)
        if KEEP:
            to = hidden_ptr + image * cells * width
            written = (cell < cells)[:, None] & (unit < width)[None]
            tl.store(to + cell[:, None] * width + unit[None], hidden, written)
        hidden = hidden.to(tl.float32) + load_row(bias1_ptr, unit, width)
        active = (hidden * normal_cdf(hidden)).to(low).to(weight2.dtype)
        total += tl.dot(active, weight2, input_precision=PRECISION)
    total += load_row(bias2_ptr, column, channels)
    if SCALE:
        total *= tl.load(scale2_ptr + image).to(tl.float32)
    out = (x + total).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + first + at, out, mask)


def cut_branch(x: Tensor) -> tuple[tuple[int, int], dict]:
    """Cut images (B, H, W, C) into tiles, and say how to multiply them."""
    images, height, width, channels = x.shape
    columns = max(16, 1 << max(channels - 1, 0).bit_length())
    rows = max(16, min(TILE['rows'], TILE['elements'] // columns))
    precise = torch.get_float32_matmul_precision() == 'highest'
    sizes = dict(
        PRECISION='ieee' if precise else 'tf32',
        # Triton's interpreter would multiply the bits of bfloat16.
        WIDEN=x.device.type == 'cpu',
        R=rows, C=columns, N=32 if columns <= 256 else 16,
        num_warps=8 if columns <= 512 else 16, num_stages=1,
    )  # fmt: skip
    return (divide(height * width, rows), images), sizes


def _make_outputs(
    x: Tensor, branch, more, scale, norm_weight, norm_bias, eps,
    weight1: Tensor, bias1, weight2, bias2, scale2, keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    kept = x if keep else x[:0]
    hidden = weight1.new_empty(*kept.shape[:-1], len(weight1))
    return like(x), like(kept), hidden


@operator(_make_outputs)
def run_mlp_branch(
    x: Tensor,
    branch: Tensor,
    more: Tensor,
    scale: Tensor | None,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    scale2: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Add the first branch to x (B, H, W, C), and run the second one.

    Before, ``more`` (C,) is added to the first, and each is multiplied by its
    scale (B,). Weights of the products are (N, C) and (C, N), of the dtype in
    which they are computed. Returns the output; if ``keep``, also the sum
    between the branches and the first product (B, H, W, N) without its bias.
    """
    outputs = out, total, hidden = _make_outputs(
        x, branch, more, scale, norm_weight, norm_bias, eps, weight1, bias1,
        weight2, bias2, scale2, keep,
    )  # fmt: skip
    grid, sizes = cut_branch(x)
    scales = (x, x) if scale is None else (scale, scale2)
    launch(
        _forward, grid, x, branch, more, scales[0], norm_weight, norm_bias,
        weight1, bias1, weight2, bias2, scales[1], total, hidden, out,
        x.shape[1] * x.shape[2], x.shape[3], len(weight1), eps, KEEP=keep,
        SCALE=scale is not None, **sizes,
    )  # fmt: skip
    return outputs
