"""The gated norm of the operator, of which each image's mean is a part."""

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

TILE = dict(elements=512, warp=512, tiles=8)


@triton.jit
def _load(
    tile, rest_ptr, mean_ptr, z_ptr, z_step, cells, channels,
    R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    cell, column, mask, at = locate(tile, cells, channels, R, C)
    image = tl.program_id(1).to(tl.int64)
    x = tl.load(rest_ptr + at, mask, 0.0).to(tl.float32)
    z_at = (image * cells + cell)[:, None] * z_step + column[None]
    z = tl.load(z_ptr + z_at, mask, 0.0).to(tl.float32)
    x += load_row(mean_ptr + image * channels, column, channels)
    return x, z, column, mask, at


@triton.jit
def _forward(
    rest_ptr, mean_ptr, z_ptr, weight_ptr, bias_ptr, out_ptr, z_step, cells,
    channels, eps, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    x, z, column, mask, at = _load(
        tile, rest_ptr, mean_ptr, z_ptr, z_step, cells, channels, R, C
    )
    x, _ = normalize(x, mask, channels, eps)
    out = x * load_row(weight_ptr, column, channels)
    out += load_row(bias_ptr, column, channels)
    out *= z * tl.sigmoid(z)
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)


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
        x, z, _, mask, at = _load(
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
        tl.store(dz_ptr + at, dz.to(dz_ptr.dtype.element_ty), mask)
        grad *= gate
        dweight += grad * x
        dbias += grad
        grad = denormalize(grad * weight, x, deviation, channels)
        tl.store(drest_ptr + at, grad.to(drest_ptr.dtype.element_ty), mask)
    store_part(dweight_ptr, dweight, channels, R, C)
    store_part(dbias_ptr, dbias, channels, R, C)
    store_part(dz_sum_ptr, dz_sum, channels, R, C)


@operator(lambda rest, mean, z, weight, bias, eps: like(rest))
def gated_norm(
    rest: Tensor,
    mean: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> Tensor:
    """Norm of rest (B, H, W, C) + mean (B, 1, 1, C), times SiLU of z.

    z has the shape of rest, and may be half of the channels of a tensor.
    """
    out = like(rest)
    grid, sizes = cut(rest, elements=2048, warp=512)
    launch(
        _forward, grid, rest, mean, z, weight, bias, out, z.stride(2),
        rest.shape[1] * rest.shape[2], rest.shape[3], eps, **sizes,
    )  # fmt: skip
    return out


def _make_gradients(
    grad: Tensor, scale, rest: Tensor, mean, z, weight, bias, eps
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return like(rest), like(rest), like(rest), make_parts(rest, TILE, 3)


@operator(_make_gradients)
def gated_norm_backward(
    grad: Tensor,
    scale: Tensor | None,
    rest: Tensor,
    mean: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate, where a scale (B,) of the images comes behind.

    Returns the gradients of rest and z, the result again times the scale, and
    parts of the gradients of weight and bias and of the sum of z's,
    (3, parts, C).
    """
    outputs = drest, dz, out, parts = _make_gradients(
        grad, scale, rest, mean, z, weight, bias, eps
    )
    grid, sizes = cut(rest, **TILE)
    launch(
        _backward, grid, grad, grad if scale is None else scale, rest, mean,
        z, weight, bias, drest, dz, out, *parts, z.stride(2),
        rest.shape[1] * rest.shape[2], rest.shape[3], eps,
        SCALE=scale is not None, **sizes,
    )  # fmt: skip
    return outputs
