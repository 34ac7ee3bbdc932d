"""The mean of every image before and behind the operator's first layers.

Equation (7) conducts what differs from the mean, which stays. Any vector may
be subtracted before the transform and added again behind it; the nearer it is
to the mean, the less half precision loses. So the mean of an image behind the
convolution is taken from that before it, as if there were no border.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .functions import load_row
from .launch import cut, divide, launch, make_parts, operator

TILE = dict(elements=4096, warp=1024, tiles=4)


@triton.jit
def _sum(
    x_ptr, part_ptr, cells, channels,
    TILES: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, C)
    image = tl.program_id(1).to(tl.int64)
    total = tl.zeros((R, C), tl.float32)
    for i in range(TILES):
        cell = (tl.program_id(0) * TILES + i).to(tl.int64) * R
        cell += tl.arange(0, R)
        at = (image * cells + cell)[:, None] * channels + column[None]
        mask = (cell < cells)[:, None] & (column < channels)[None]
        total += tl.load(x_ptr + at, mask, 0.0).to(tl.float32)
    part = image * tl.num_programs(0) + tl.program_id(0)
    at = part_ptr + part * channels + column
    tl.store(at, tl.sum(total, 0), column < channels)


@triton.jit
def _propagate(
    part_ptr, conv_ptr, conv_bias_ptr, weight_ptr, bias_ptr, mean_ptr, out_ptr,
    parts, cells, channels, rows,
    P: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, C)
    image = tl.program_id(1)
    total = tl.zeros((P, C), tl.float32)
    for start in range(0, parts, P):
        part = start + tl.arange(0, P)
        at = (image * parts + part)[:, None] * channels + column[None]
        mask = (part < parts)[:, None] & (column < channels)[None]
        total += tl.load(part_ptr + at, mask, 0.0)
    weight = tl.zeros((1, C), tl.float32)
    for i in tl.static_range(9):
        at = conv_ptr + (column * 9 + i)[None]
        weight += tl.load(at, (column < channels)[None], 0.0).to(tl.float32)
    mean = weight * (tl.sum(total, 0) / cells)[None]
    mean += load_row(conv_bias_ptr, column, channels)
    if tl.program_id(0) == 0:
        to = mean_ptr + (image * channels + column)[None]
        tl.store(to, mean, (column < channels)[None])
    row = tl.program_id(0) * R + tl.arange(0, R)
    mask = (row < rows)[:, None] & (column < channels)[None]
    at = weight_ptr + row[:, None] * channels + column[None]
    out = tl.sum(tl.load(at, mask, 0.0).to(tl.float32) * mean, 1)
    out += tl.load(bias_ptr + row, row < rows, 0.0).to(tl.float32)
    tl.store(out_ptr + image * rows + row, out, row < rows)


@operator(lambda x: make_parts(x, TILE, 1)[0])
def sum_cells(x: Tensor) -> Tensor:
    """Sum images (B, H, W, C) up in single precision, by (B, parts, C)."""
    parts = make_parts(x, TILE, 1)[0]
    grid, sizes = cut(x, **TILE)
    launch(_sum, grid, x, parts, x.shape[1] * x.shape[2], x.shape[3], **sizes)
    return parts


def _make_means(
    parts: Tensor, cells, conv, conv_bias, weight, bias
) -> tuple[Tensor, Tensor]:
    images, _, channels = parts.shape
    rows = len(weight)
    return parts.new_empty(images, channels), parts.new_empty(images, rows)


@operator(_make_means)
def propagate_means(
    parts: Tensor,
    cells: int,
    conv: Tensor,
    conv_bias: Tensor,
    weight: Tensor,
    bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """Follow means through a depthwise convolution and a linear layer.

    Args: sums (B, parts, C) of images, their cells, weights (C, 1, 3, 3),
    (C,), (N, C) and (N,). Returns means (B, C) behind the convolution and
    (B, N) behind the linear layer, in single precision.
    """
    outputs = means, out = _make_means(
        parts, cells, conv, conv_bias, weight, bias
    )
    images, count, channels = parts.shape
    columns = 1 << max(channels - 1, 0).bit_length()
    rows = max(1, 4096 // columns)
    launch(
        _propagate, (divide(len(weight), rows), images), parts, conv,
        conv_bias, weight, bias, means, out, count, cells, channels,
        len(weight), P=4 * rows, R=rows, C=columns, num_warps=8,
    )  # fmt: skip
    return outputs
