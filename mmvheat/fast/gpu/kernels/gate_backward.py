"""Gradients of the gated norm and its result again, in one pass."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .functions import denormalize, load_row, normalize, store_part
from .gate import load_gate
from .launch import cut, launch, like, make_parts, operator

TILE = dict(elements=512, warp=256, tiles=16)


@triton.jit
def _backward(
    grad_ptr, scale_ptr, rest_ptr, mean_ptr, z_ptr, weight_ptr, bias_ptr,
    drest_ptr, dz_ptr, out_ptr, dweight_ptr, dbias_ptr, dz_sum_ptr, z_step,
    cells, channels, eps,
    SCALE: tl.constexpr, TILES: tl.constexpr, R: tl.constexpr,
    C: tl.constexpr,
):  # fmt: skip
    weight = load_row(weight_ptr, tl.arange(0, C), channels)
    bias = load_row(bias_ptr, tl.arange(0, C), channels)
    dweight = tl.zeros((R, C), tl.float32)
    dbias = tl.zeros((R, C), tl.float32)
    dz_sum = tl.zeros((R, C), tl.float32)
    for i in range(TILES):
        tile = tl.program_id(0) * TILES + i
        x, z, column, mask, at = load_gate(
            tile, rest_ptr, mean_ptr, z_ptr, z_step, cells, channels, R, C
        )
        grad = tl.load(grad_ptr + at, mask, 0.0).to(tl.float32)
        x, deviation = normalize(x, mask, channels, eps)
        normed = x * weight + bias
        gate = tl.sigmoid(z)
        slope = gate * (1 + z * (1 - gate))
        gate *= z
        out = normed * gate
        if SCALE:
            scale = tl.load(scale_ptr + tl.program_id(1)).to(tl.float32)
            grad *= scale
            out *= scale
        tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)
        dz = grad * normed * slope
        dz_sum += dz
        # Rows of u and z: a row of at is half of one.
        dz_at = dz_ptr + 2 * at - column[None] + channels
        tl.store(dz_at, dz.to(dz_ptr.dtype.element_ty), mask)
        grad *= gate
        dweight += grad * x
        dbias += grad
        grad = denormalize(grad * weight, x, deviation, channels)
        tl.store(drest_ptr + at, grad.to(drest_ptr.dtype.element_ty), mask)
    store_part(dweight_ptr, dweight, channels, R, C)
    store_part(dbias_ptr, dbias, channels, R, C)
    store_part(dz_sum_ptr, dz_sum, channels, R, C)


def _make_gradients(
    grad: Tensor, scale, rest: Tensor, means, z, weight, bias, eps
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    both = rest.new_empty(*rest.shape[:3], 2 * rest.shape[3])
    return like(rest), both, like(rest), make_parts(rest, TILE, 3)


@operator(_make_gradients)
def gated_norm_backward(
    grad: Tensor,
    scale: Tensor | None,
    rest: Tensor,
    means: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate, where a scale (B,) of the images comes behind.

    Returns the gradient of rest, that of z behind room for u's in (B, H, W,
    2 * C), the result again times the scale, and parts of the gradients of
    weight and bias and of the sum of z's, (3, B, parts, C).
    """
    outputs = drest, dz, out, parts = _make_gradients(
        grad, scale, rest, means, z, weight, bias, eps
    )
    grid, sizes = cut(rest, **TILE)
    launch(
        _backward, grid, grad, grad if scale is None else scale, rest, means,
        z, weight, bias, drest, dz, out, *parts, z.stride(2),
        rest.shape[1] * rest.shape[2], rest.shape[3], eps,
        SCALE=scale is not None, **sizes,
    )  # fmt: skip
    return outputs
