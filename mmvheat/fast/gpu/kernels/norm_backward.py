"""Gradients of a layer norm and its result again, in one pass."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .functions import (
    denormalize,
    gelu_slope,
    load_row,
    locate,
    locate_first,
    normalize,
    store_part,
)
from .launch import cut, launch, like, make_parts, operator

TILE = dict(elements=1024, warp=512, tiles=8)


@triton.jit
def _backward(
    grad_ptr, x_ptr, rest_ptr, weight_ptr, bias_ptr, scale_ptr, rest_scale_ptr,
    dx_ptr, low_ptr, out_ptr, dweight_ptr, dbias_ptr, sum_ptr, rest_sum_ptr,
    cells, channels, eps,
    GELU: tl.constexpr, FIRST: tl.constexpr, REST: tl.constexpr,
    LOW: tl.constexpr, SUMS: tl.constexpr, SCALE: tl.constexpr,
    TILES: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, C)
    weight = load_row(weight_ptr, column, channels)
    bias = load_row(bias_ptr, column, channels)
    dweight = tl.zeros((R, C), tl.float32)
    dbias = tl.zeros((R, C), tl.float32)
    total = tl.zeros((R, C), tl.float32)
    rest_total = tl.zeros((R, C), tl.float32)
    for i in range(TILES):
        tile = tl.program_id(0) * TILES + i
        cell, _, mask, at = locate(tile, cells, channels, R, C)
        x = tl.load(x_ptr + at, mask, 0.0).to(tl.float32)
        above = at
        if FIRST:
            above = locate_first(cell, column, cells, channels)
        grad = tl.load(grad_ptr + above, mask, 0.0).to(tl.float32)
        x, deviation = normalize(x, mask, channels, eps)
        if GELU:
            grad *= gelu_slope(x * weight + bias)
        dweight += grad * x
        dbias += grad
        dx = denormalize(grad * weight, x, deviation, channels)
        if REST:
            rest = tl.load(rest_ptr + at, mask, 0.0).to(tl.float32)
            dx += rest
            out = x * weight + bias
            tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)
        if SUMS:
            total += tl.where(mask, dx, 0.0)
            rest_total += rest
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask)
        if LOW:
            tl.store(low_ptr + at, dx.to(low_ptr.dtype.element_ty), mask)
    store_part(dweight_ptr, dweight, channels, R, C)
    store_part(dbias_ptr, dbias, channels, R, C)
    if SUMS:
        if SCALE:
            image = tl.program_id(1)
            total *= tl.load(scale_ptr + image).to(tl.float32)
            rest_total *= tl.load(rest_scale_ptr + image).to(tl.float32)
        store_part(sum_ptr, total, channels, R, C)
        store_part(rest_sum_ptr, rest_total, channels, R, C)


def launch_backward(
    grad, x, rest, weight, bias, eps, scales, dx, low, out, parts,
    gelu=False, first=False,
) -> None:  # fmt: skip
    """Run the kernel; the operators say what it takes and writes."""
    grid, sizes = cut(x, **TILE)
    launch(
        _backward, grid, grad, x, grad if rest is None else rest, weight,
        bias, *(scales or (grad, grad)), dx, low, out, *parts[:2],
        *parts[-2:], x.shape[1] * x.shape[2], x.shape[3], eps,
        GELU=gelu, FIRST=first, REST=rest is not None, LOW=low is not dx,
        SUMS=len(parts) == 4, SCALE=scales is not None, **sizes,
    )  # fmt: skip


def _make_gradients(
    grad: Tensor, x: Tensor, rest, weight, bias, eps
) -> tuple[Tensor, Tensor, Tensor]:
    return like(x), like(x, grad.dtype), make_parts(x, TILE)


@operator(_make_gradients)
def norm_backward(
    grad: Tensor,
    x: Tensor,
    rest: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate the norm, add the gradient that goes around it.

    Returns the gradient of x, the norm again, in the dtype of ``grad``, and
    parts of the gradients of weight and bias, (2, B, parts, C).
    """
    outputs = dx, out, parts = _make_gradients(grad, x, rest, weight, bias, 0)
    launch_backward(grad, x, rest, weight, bias, eps, None, dx, dx, out, parts)
    return outputs


def _make_more_gradients(
    grad: Tensor, x: Tensor, rest, weight, bias, eps, scale, rest_scale
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    low = like(x if x.dtype != grad.dtype else x[:0], grad.dtype)
    return like(x), low, like(x, grad.dtype), make_parts(x, TILE, 4)


@operator(_make_more_gradients)
def norm_backward_sum(
    grad: Tensor,
    x: Tensor,
    rest: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    scale: Tensor | None,
    rest_scale: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do so, and sum up what the layers before it and behind it need.

    Returns the gradient of x; the same in the dtype of ``grad``, or nothing
    where it has that; the norm again; parts of the gradients of weight and
    bias, of the sum of the first, times a scale (B,) of the images, and of
    that of ``rest``, (4, B, parts, C).
    """
    outputs = dx, low, out, parts = _make_more_gradients(
        grad, x, rest, weight, bias, eps, scale, rest_scale
    )
    scales = None if scale is None else (scale, rest_scale)
    low = low if dx.dtype != low.dtype else dx
    launch_backward(
        grad, x, rest, weight, bias, eps, scales, dx, low, out, parts
    )
    return outputs
