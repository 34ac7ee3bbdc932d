"""Gradients of the second branch of a block in one pass, but for weights."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .functions import (
    denormalize,
    load_row,
    load_weights,
    locate_inside,
    normal_cdf,
    normalize,
    store_part,
)
from .launch import launch, like, operator
from .mlp_branch import cut_branch


@triton.jit
def _backward(
    grad_ptr, sum_ptr, hidden_ptr, norm_weight_ptr, norm_bias_ptr,
    weight1_ptr, bias1_ptr, weight2_ptr, scale_ptr, scale2_ptr, dx_ptr,
    low_ptr, below_ptr, dhidden_ptr, active_ptr, part_ptr, unit_part_ptr,
    cells, channels, width, eps,
    LOW: tl.constexpr, SCALE: tl.constexpr, PRECISION: tl.constexpr,
    WIDEN: tl.constexpr, R: tl.constexpr, C: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    low: tl.constexpr = weight1_ptr.dtype.element_ty
    image = tl.program_id(1).to(tl.int64)
    cell, column, mask, at = locate_inside(cells, channels, R, C)
    first, first_hidden = image * cells * channels, image * cells * width
    program = image * tl.num_programs(0) + tl.program_id(0)
    grad = tl.load(grad_ptr + first + at, mask, 0.0).to(low)
    if WIDEN:
        grad = grad.to(tl.float32)
    dbelow = tl.zeros((R, C), tl.float32)
    for start in range(0, width, N):
        unit = start + tl.arange(0, N)
        weight1, weight2 = load_weights(
            weight1_ptr, weight2_ptr, unit, column, width, channels, WIDEN
        )
        to = cell[:, None] * width + unit[None]
        read = (cell < cells)[:, None] & (unit < width)[None]
        hidden = tl.load(hidden_ptr + first_hidden + to, read, 0.0)
        hidden = hidden.to(tl.float32) + load_row(bias1_ptr, unit, width)
        dhidden = tl.dot(grad, tl.trans(weight2), input_precision=PRECISION)
        normal = normal_cdf(hidden)
        density = tl.exp(-0.5 * hidden * hidden) * 0.3989422804014327
        dhidden *= normal + hidden * density
        active = hidden * normal
        if SCALE:
            scale = tl.load(scale2_ptr + image).to(tl.float32)
            active *= scale
            dhidden *= scale
        tl.store(active_ptr + first_hidden + to, active.to(low), read)
        part = tl.sum(tl.where(read, dhidden, 0.0), 0)
        tl.store(unit_part_ptr + program * width + unit, part, unit < width)
        dhidden = dhidden.to(low)
        tl.store(dhidden_ptr + first_hidden + to, dhidden, read)
        dhidden = dhidden.to(weight1.dtype)
        dbelow += tl.dot(dhidden, weight1, input_precision=PRECISION)
    x = tl.load(sum_ptr + first + at, mask, 0.0).to(tl.float32)
    rest = tl.load(grad_ptr + first + at, mask, 0.0).to(tl.float32)
    weight = load_row(norm_weight_ptr, column, channels)
    x, deviation = normalize(x, mask, channels, eps)
    below = x * weight + load_row(norm_bias_ptr, column, channels)
    tl.store(below_ptr + first + at, below.to(low), mask)
    # Cells outside of the image have no gradient.
    dx = rest + denormalize(dbelow * weight, x, deviation, channels)
    tl.store(dx_ptr + first + at, dx.to(dx_ptr.dtype.element_ty), mask)
    if LOW:
        tl.store(low_ptr + first + at, dx.to(low), mask)
    if SCALE:
        dx *= tl.load(scale_ptr + image).to(tl.float32)
        rest *= tl.load(scale2_ptr + image).to(tl.float32)
    size = tl.num_programs(0).to(tl.int64) * tl.num_programs(1) * channels
    store_part(part_ptr, dbelow * x, channels, R, C)
    store_part(part_ptr + size, dbelow, channels, R, C)
    store_part(part_ptr + 2 * size, dx, channels, R, C)
    store_part(part_ptr + 3 * size, rest, channels, R, C)


def _make_gradients(
    grad: Tensor, total: Tensor, hidden: Tensor, norm_weight, norm_bias, eps,
    weight1: Tensor, bias1, weight2, scale, scale2,
) -> tuple[Tensor, ...]:  # fmt: skip
    dtype = weight1.dtype
    (programs, images), _ = cut_branch(total)
    parts, unit_parts = (
        total.new_empty(count, images, programs, channels, dtype=torch.float32)
        for count, channels in ((4, total.shape[-1]), (1, hidden.shape[-1]))
    )
    low = like(total if total.dtype != dtype else total[:0], dtype)
    return (
        like(total), low, like(total, dtype), like(hidden), like(hidden),
        parts, unit_parts,
    )  # fmt: skip


@operator(_make_gradients)
def differentiate_mlp_branch(
    grad: Tensor,
    total: Tensor,
    hidden: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    scale: Tensor | None,
    scale2: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Differentiate :func:`run_mlp_branch`, from what it has kept.

    Returns the gradient of the sum between the branches; the same in the
    dtype of the products, or nothing where it has that; what the first
    product multiplies, its gradient, and what the second multiplies, times
    the scale; parts of the gradients of the norm's weight and bias, and of the
    biases before and behind this branch, (4, B, parts, C), and of that of the
    first product, (1, B, parts, N).
    """
    outputs = dx, low, *others = _make_gradients(
        grad, total, hidden, norm_weight, norm_bias, eps, weight1, bias1,
        weight2, scale, scale2,
    )  # fmt: skip
    grid, sizes = cut_branch(total)
    scales = (grad, grad) if scale is None else (scale, scale2)
    launch(
        _backward, grid, grad, total, hidden, norm_weight, norm_bias, weight1,
        bias1, weight2, *scales, dx, low if len(low) else dx, *others,
        total.shape[1] * total.shape[2], total.shape[3], len(weight1), eps,
        LOW=low.dtype != dx.dtype, SCALE=scale is not None, **sizes,
    )  # fmt: skip
    return outputs
