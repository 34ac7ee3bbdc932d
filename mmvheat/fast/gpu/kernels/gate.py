"""The gated norm of the operator, which adds the means of each image."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .functions import load_row, locate, normalize
from .launch import cut, launch, like, operator


@triton.jit
def load_gate(
    tile, rest_ptr, mean_ptr, z_ptr, z_step, cells, channels,
    R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    cell, column, mask, at = locate(tile, cells, channels, R, C)
    image = tl.program_id(1).to(tl.int64)
    x = tl.load(rest_ptr + at, mask, 0.0).to(tl.float32)
    z_at = (image * cells + cell)[:, None] * z_step + column[None]
    z = tl.load(z_ptr + z_at, mask, 0.0).to(tl.float32)
    mean_ptr += image * 2 * channels
    x += load_row(mean_ptr, column, channels)
    z += load_row(mean_ptr + channels, column, channels)
    return x, z, column, mask, at


@triton.jit
def _forward(
    rest_ptr, mean_ptr, z_ptr, weight_ptr, bias_ptr, out_ptr, z_step, cells,
    channels, eps, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    x, z, column, mask, at = load_gate(
        tile, rest_ptr, mean_ptr, z_ptr, z_step, cells, channels, R, C
    )
    x, _ = normalize(x, mask, channels, eps)
    out = x * load_row(weight_ptr, column, channels)
    out += load_row(bias_ptr, column, channels)
    out *= z * tl.sigmoid(z)
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)


@operator(lambda rest, means, z, weight, bias, eps: like(rest))
def gated_norm(
    rest: Tensor,
    means: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> Tensor:
    """Norm of rest (B, H, W, C) and a mean, times SiLU of z and a mean.

    z has the shape of rest, and may be half of the channels of a tensor.
    Means are (B, 2 * C), first those of rest.
    """
    out = like(rest)
    grid, sizes = cut(rest, elements=2048, warp=512)
    launch(
        _forward, grid, rest, means, z, weight, bias, out, z.stride(2),
        rest.shape[1] * rest.shape[2], rest.shape[3], eps, **sizes,
    )  # fmt: skip
    return out
