"""Gradients of the weights and the bias of the depthwise convolution."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .convolution import cut_rows, load_cells, place
from .launch import divide, launch, operator

TILE = dict(ROWS=32, W=8, C=32, num_warps=2)


@triton.jit
def _differentiate(
    grad_ptr, x_ptr, part_ptr, height, width, channels,
    ROWS: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    image, column, channel = place(height, width, channels, W, C)
    first = tl.program_id(1) * ROWS
    zeros = tl.zeros((W, C), tl.float32)
    w0, w1, w2, w3, w4 = zeros, zeros, zeros, zeros, zeros
    w5, w6, w7, w8, total = zeros, zeros, zeros, zeros, zeros
    # Gradients at row - 1 and row; one tile for both would not be carried on.
    upper = tl.zeros((W, C), tl.float32)
    here = tl.zeros((W, C), tl.float32)
    for i in range(ROWS + 2):
        row = tl.full((1, 1), first - 1 + i, tl.int32)
        h, w, n = height, width, channels
        # Of the rows of the output, those of this tile alone.
        own = tl.where(row + 1 < first + ROWS, row + 1, height)
        lower = load_cells(grad_ptr, image, own, column, channel, h, w, n)
        a = load_cells(x_ptr, image, row, column - 1, channel, h, w, n)
        b = load_cells(x_ptr, image, row, column, channel, h, w, n)
        c = load_cells(x_ptr, image, row, column + 1, channel, h, w, n)
        w0, w1, w2 = w0 + lower * a, w1 + lower * b, w2 + lower * c
        w3, w4, w5 = w3 + here * a, w4 + here * b, w5 + here * c
        w6, w7, w8 = w6 + upper * a, w7 + upper * b, w8 + upper * c
        total += lower
        upper = here
        here = lower
    columns = (width + W - 1) // W
    part = tl.program_id(0) // ((channels + C - 1) // C)
    part += columns * (
        tl.program_id(1) + tl.num_programs(1) * tl.program_id(2)
    )
    at = part_ptr + (part * channels + channel) * 10
    mask = channel < channels
    tl.store(at, tl.sum(w0, 0)[None], mask)
    tl.store(at + 1, tl.sum(w1, 0)[None], mask)
    tl.store(at + 2, tl.sum(w2, 0)[None], mask)
    tl.store(at + 3, tl.sum(w3, 0)[None], mask)
    tl.store(at + 4, tl.sum(w4, 0)[None], mask)
    tl.store(at + 5, tl.sum(w5, 0)[None], mask)
    tl.store(at + 6, tl.sum(w6, 0)[None], mask)
    tl.store(at + 7, tl.sum(w7, 0)[None], mask)
    tl.store(at + 8, tl.sum(w8, 0)[None], mask)
    tl.store(at + 9, tl.sum(total, 0)[None], mask)


def _make_parts(grad: Tensor, x: Tensor) -> Tensor:
    (tiles, rows, images), sizes = cut_rows(x, TILE)
    channels = x.shape[-1]
    parts = images * rows * tiles // divide(channels, sizes['C'])
    return x.new_empty(parts, channels, 10, dtype=torch.float32)


@operator(_make_parts)
def convolve_backward(grad: Tensor, x: Tensor) -> Tensor:
    """Compute parts of the gradients of weight and bias, (parts, C, 9 + 1)."""
    parts = _make_parts(grad, x)
    grid, sizes = cut_rows(x, TILE)
    launch(
        _differentiate, grid, grad, x, parts, *x.shape[1:], **sizes
    )  # fmt: skip
    return parts
