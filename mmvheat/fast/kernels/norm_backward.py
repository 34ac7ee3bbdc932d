"""Gradients of a layer norm and its result again, in one pass."""

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

TILE = dict(elements=1024, warp=1024, tiles=8)


@triton.jit
def _backward(
    grad_ptr, x_ptr, rest_ptr, weight_ptr, bias_ptr, dx_ptr, out_ptr,
    dweight_ptr, dbias_ptr, cells, channels, eps,
    TILES: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, C)
    weight = load_row(weight_ptr, column, channels)
    bias = load_row(bias_ptr, column, channels)
    dweight = tl.zeros((R, C), tl.float32)
    dbias = tl.zeros((R, C), tl.float32)
    for i in range(TILES):
        tile = tl.program_id(0) * TILES + i
        _, _, mask, at = locate(tile, cells, channels, R, C)
        x = tl.load(x_ptr + at, mask, 0.0).to(tl.float32)
        grad = tl.load(grad_ptr + at, mask, 0.0).to(tl.float32)
        dx = tl.load(rest_ptr + at, mask, 0.0).to(tl.float32)
        x, deviation = normalize(x, mask, channels, eps)
        out = x * weight + bias
        tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)
        dweight += grad * x
        dbias += grad
        dx += denormalize(grad * weight, x, deviation, channels)
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask)
    store_part(dweight_ptr, dweight, channels, R, C)
    store_part(dbias_ptr, dbias, channels, R, C)


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
    parts of the gradients of weight and bias, (2, parts, C).
    """
    outputs = dx, out, parts = _make_gradients(grad, x, rest, weight, bias, 0)
    grid, sizes = cut(x, **TILE)
    launch(
        _backward, grid, grad, x, rest, weight, bias, dx, out, parts[0],
        parts[1], x.shape[1] * x.shape[2], x.shape[3], eps, **sizes,
    )  # fmt: skip
    return outputs
