"""The mean of every image, and images without it, in few passes."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .functions import load_row, locate
from .launch import cut, divide, launch, operator

PROGRAMS = 1024  # enough to keep a large GPU busy


@triton.jit
def _sum(
    x_ptr, part_ptr, step, cells, channels, per_part,
    R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, C)
    first = tl.program_id(0).to(tl.int64) * per_part
    image = tl.program_id(1).to(tl.int64)
    last = tl.minimum(first + per_part, cells)
    total = tl.zeros((R, C), tl.float32)
    for start in range(first, last, R):
        cell = start + tl.arange(0, R)
        at = (image * cells + cell)[:, None] * step + column[None]
        mask = (cell < last)[:, None] & (column < channels)[None]
        total += tl.load(x_ptr + at, mask, 0.0).to(tl.float32)
    part = (image * tl.num_programs(0) + tl.program_id(0)) * channels + column
    tl.store(part_ptr + part, tl.sum(total, 0), column < channels)


@triton.jit
def _subtract(
    x_ptr, total_ptr, mean_ptr, out_ptr, step, cells, channels,
    R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    cell, column, mask, at = locate(tl.program_id(0), cells, channels, R, C)
    image = tl.program_id(1).to(tl.int64)
    total = load_row(total_ptr + image * channels, column, channels)
    # What is subtracted is what will be added again.
    mean = (total / cells).to(mean_ptr.dtype.element_ty)
    if tl.program_id(0) == 0:
        to = mean_ptr + image * channels + column[None]
        tl.store(to, mean, (column < channels)[None])
    x_at = (image * cells + cell)[:, None] * step + column[None]
    x = tl.load(x_ptr + x_at, mask, 0.0).to(tl.float32)
    out = x - mean.to(tl.float32)
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)


@operator(lambda x: x.new_empty(len(x), x.shape[-1], dtype=torch.float32))
def sum_cells(x: Tensor) -> Tensor:
    """Sum images (B, H, W, C) up in single precision, (B, C).

    They may be some channels of more.
    """
    images, height, width, channels = x.shape
    cells = height * width
    (tiles, _), sizes = cut(x)
    count = max(1, min(tiles, PROGRAMS // max(images, 1)))
    parts = x.new_empty(images, count, channels, dtype=torch.float32)
    launch(
        _sum, (count, images), x, parts, x.stride(2), cells, channels,
        divide(cells, count), **sizes,
    )  # fmt: skip
    return parts.sum(1)


def _make_outputs(x: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(len(x), 1, 1, x.shape[-1])


@operator(_make_outputs)
def center(x: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Split images, of this sum, into what differs from their mean, and that.

    Args: images (B, H, W, C), perhaps some channels of more, and their sum
    (B, C). Returns (B, H, W, C) and (B, 1, 1, C).
    """
    out, mean = _make_outputs(x, total)
    _, height, width, channels = x.shape
    grid, sizes = cut(x)
    launch(
        _subtract, grid, x, total, mean, out, x.stride(2), height * width,
        channels, **sizes,
    )  # fmt: skip
    return out, mean
