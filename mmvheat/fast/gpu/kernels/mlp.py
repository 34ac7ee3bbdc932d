"""A product with GELU behind it, and the gradient of GELU, in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .functions import load_row, locate, normal_cdf, store_part
from .launch import cut, divide, launch, like, make_parts, operator

PRODUCT = dict(M=64, N=128, K=32, num_warps=8, num_stages=3)
TILE = dict(elements=1024, warp=512, tiles=8)


@triton.jit
def _multiply(
    x_ptr, weight_ptr, bias_ptr, out_ptr, rows, columns, depth,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    column = tl.program_id(1) * N + tl.arange(0, N)
    k = tl.arange(0, K)
    inside = (row < rows)[:, None]
    total = tl.zeros((M, N), tl.float32)
    for start in range(0, depth, K):
        index = start + k
        x = tl.load(
            x_ptr + row[:, None] * depth + index[None],
            inside & (index < depth)[None],
            0.0,
        )
        weight = tl.load(
            weight_ptr + index[:, None] + column[None] * depth,
            (index < depth)[:, None] & (column < columns)[None],
            0.0,
        )
        if WIDEN:
            x, weight = x.to(tl.float32), weight.to(tl.float32)
        total += tl.dot(x, weight, input_precision=PRECISION)
    total += load_row(bias_ptr, column, columns)
    out = total * normal_cdf(total)
    at = row[:, None] * columns + column[None]
    mask = inside & (column < columns)[None]
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)


@triton.jit
def _activate(
    hidden_ptr, bias_ptr, out_ptr, cells, channels,
    R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    _, column, mask, at = locate(tile, cells, channels, R, C)
    hidden = tl.load(hidden_ptr + at, mask, 0.0).to(tl.float32)
    hidden += load_row(bias_ptr, column, channels)
    out = hidden * normal_cdf(hidden)
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)


@triton.jit
def _backward(
    grad_ptr, scale_ptr, hidden_ptr, bias_ptr, dhidden_ptr, out_ptr, part_ptr,
    cells, channels, SCALE: tl.constexpr, TILES: tl.constexpr,
    R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    bias = load_row(bias_ptr, tl.arange(0, C), channels)
    total = tl.zeros((R, C), tl.float32)
    for i in range(TILES):
        tile = tl.program_id(0) * TILES + i
        _, _, mask, at = locate(tile, cells, channels, R, C)
        hidden = tl.load(hidden_ptr + at, mask, 0.0).to(tl.float32) + bias
        grad = tl.load(grad_ptr + at, mask, 0.0).to(tl.float32)
        normal = normal_cdf(hidden)
        density = tl.exp(-0.5 * hidden * hidden) * 0.3989422804014327
        grad *= normal + hidden * density
        out = hidden * normal
        if SCALE:
            scale = tl.load(scale_ptr + tl.program_id(1)).to(tl.float32)
            out *= scale
            grad *= scale
        tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)
        total += grad
        tl.store(dhidden_ptr + at, grad.to(dhidden_ptr.dtype.element_ty), mask)
    store_part(part_ptr, total, channels, R, C)


def _make_output(x: Tensor, weight: Tensor, bias) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


@operator(_make_output)
def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """GELU of a linear layer of x (..., C); weight (N, C), bias (N,)."""
    out = _make_output(x, weight, bias)
    rows, (columns, depth) = x.numel() // x.shape[-1], weight.shape
    tiles = divide(rows, PRODUCT['M']), divide(columns, PRODUCT['N'])
    precise = torch.get_float32_matmul_precision() == 'highest'
    launch(
        _multiply, tiles, x, weight, bias, out, rows, columns, depth,
        PRECISION='ieee' if precise else 'tf32',
        # Triton's interpreter would multiply the bits of bfloat16.
        WIDEN=x.device.type == 'cpu', **PRODUCT,
    )  # fmt: skip
    return out


@operator(lambda hidden, bias: like(hidden))
def bias_gelu(hidden: Tensor, bias: Tensor) -> Tensor:
    """GELU of hidden features (B, H, W, N) and a bias (N,)."""
    out = like(hidden)
    grid, sizes = cut(hidden, elements=2048, warp=512)
    launch(
        _activate, grid, hidden, bias, out,
        hidden.shape[1] * hidden.shape[2], hidden.shape[3], **sizes,
    )  # fmt: skip
    return out


def _make_gradients(
    grad: Tensor, scale, hidden: Tensor, bias
) -> tuple[Tensor, Tensor, Tensor]:
    return like(hidden), like(hidden), make_parts(hidden, TILE, 1)


@operator(_make_gradients)
def gelu_backward(
    grad: Tensor, scale: Tensor | None, hidden: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate :func:`bias_gelu`, where a scale (B,) comes behind.

    Returns the gradient of ``hidden``, GELU again times the scale, and parts
    of the gradient of the bias, (1, B, parts, N).
    """
    outputs = dhidden, out, parts = _make_gradients(grad, scale, hidden, bias)
    grid, sizes = cut(hidden, **TILE)
    launch(
        _backward, grid, grad, grad if scale is None else scale, hidden, bias,
        dhidden, out, parts, hidden.shape[1] * hidden.shape[2],
        hidden.shape[3], SCALE=scale is not None, **sizes,
    )  # fmt: skip
    return outputs
