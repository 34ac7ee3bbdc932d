"""Layer norm of a branch and the sum behind it, and gradients, in one pass."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .functions import (
    denormalize,
    load_row,
    locate,
    normalize,
    store_part,
)
from .launch import cut, launch, like, make_parts, operator

TILE = dict(elements=1024, warp=512, tiles=8)


@triton.jit
def _forward(
    branch_ptr, x_ptr, scale_ptr, weight_ptr, bias_ptr, sum_ptr, low_ptr,
    cells, channels, eps,
    SCALE: tl.constexpr, LOW: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    _, column, mask, at = locate(tl.program_id(0), cells, channels, R, C)
    branch = tl.load(branch_ptr + at, mask, 0.0).to(tl.float32)
    x = tl.load(x_ptr + at, mask, 0.0).to(tl.float32)
    branch, _ = normalize(branch, mask, channels, eps)
    branch *= load_row(weight_ptr, column, channels)
    branch += load_row(bias_ptr, column, channels)
    if SCALE:
        branch *= tl.load(scale_ptr + tl.program_id(1)).to(tl.float32)
    x += branch
    tl.store(sum_ptr + at, x.to(sum_ptr.dtype.element_ty), mask)
    if LOW:
        tl.store(low_ptr + at, x.to(low_ptr.dtype.element_ty), mask)


@triton.jit
def _backward(
    grad_ptr, branch_ptr, scale_ptr, weight_ptr, dbranch_ptr, dweight_ptr,
    dbias_ptr, sum_ptr, cells, channels, eps,
    SCALE: tl.constexpr, TILES: tl.constexpr, R: tl.constexpr,
    C: tl.constexpr,
):  # fmt: skip
    weight = load_row(weight_ptr, tl.arange(0, C), channels)
    dweight = tl.zeros((R, C), tl.float32)
    dbias = tl.zeros((R, C), tl.float32)
    total = tl.zeros((R, C), tl.float32)
    for i in range(TILES):
        tile = tl.program_id(0) * TILES + i
        _, _, mask, at = locate(tile, cells, channels, R, C)
        branch = tl.load(branch_ptr + at, mask, 0.0).to(tl.float32)
        grad = tl.load(grad_ptr + at, mask, 0.0).to(tl.float32)
        if SCALE:
            grad *= tl.load(scale_ptr + tl.program_id(1)).to(tl.float32)
        branch, deviation = normalize(branch, mask, channels, eps)
        dweight += grad * branch
        dbias += grad
        grad = denormalize(grad * weight, branch, deviation, channels)
        total += tl.where(mask, grad, 0.0)
        grad = grad.to(dbranch_ptr.dtype.element_ty)
        tl.store(dbranch_ptr + at, grad, mask)
    store_part(dweight_ptr, dweight, channels, R, C)
    store_part(dbias_ptr, dbias, channels, R, C)
    store_part(sum_ptr, total, channels, R, C)


def _make_sum(
    branch: Tensor, x: Tensor, scale, weight, bias, eps, low: bool
) -> tuple[Tensor, Tensor]:
    return like(x), like(x if low else x[:0], branch.dtype)


@operator(_make_sum)
def norm_add(
    branch: Tensor,
    x: Tensor,
    scale: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    low: bool,
) -> tuple[Tensor, Tensor]:
    """Normalise a branch (B, H, W, C), and add it to x.

    The norm is multiplied by a scale (B,) of its image. Returns the sum, and
    with ``low`` the sum in the dtype of the branch as well.
    """
    total, copy = _make_sum(branch, x, scale, weight, bias, eps, low)
    grid, sizes = cut(x)
    launch(
        _forward, grid, branch, x, x if scale is None else scale, weight,
        bias, total, copy, x.shape[1] * x.shape[2], x.shape[3], eps,
        SCALE=scale is not None, LOW=low, **sizes,
    )  # fmt: skip
    return total, copy


def _make_gradients(
    grad: Tensor, branch: Tensor, scale, weight, eps
) -> tuple[Tensor, Tensor]:
    return like(branch), make_parts(branch, TILE, 3)


@operator(_make_gradients)
def norm_add_backward(
    grad: Tensor,
    branch: Tensor,
    scale: Tensor | None,
    weight: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Differentiate the sum with respect to the branch.

    Returns its gradient, and parts of those of weight and bias and of the sum
    of the first, (3, B, parts, C).
    """
    dbranch, parts = _make_gradients(grad, branch, scale, weight, eps)
    grid, sizes = cut(branch, **TILE)
    launch(
        _backward, grid, grad, branch, grad if scale is None else scale,
        weight, dbranch, *parts,
        branch.shape[1] * branch.shape[2], branch.shape[3], eps,
        SCALE=scale is not None, **sizes,
    )  # fmt: skip
    return dbranch, parts
