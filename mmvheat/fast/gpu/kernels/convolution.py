"""Depthwise 3x3 convolution of channels-last images.

A tile of columns and channels goes down the rows. Three loads of a row, the
cells to the left, below and to the right of one another, serve the three rows
of the output that they touch.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .launch import divide, launch, like, operator

TILE = dict(ROWS=16, W=8, C=32, num_warps=2)


@triton.jit
def place(height, width, channels, W: tl.constexpr, C: tl.constexpr):
    """Place a tile: its image, columns and channels."""
    tiles = (channels + C - 1) // C
    column = tl.program_id(0) // tiles * W + tl.arange(0, W)
    channel = tl.program_id(0) % tiles * C + tl.arange(0, C)
    image = tl.program_id(2).to(tl.int64) * height * width * channels
    return image, column[:, None], channel[None]


@triton.jit
def load_cells(x_ptr, image, row, column, channel, height, width, channels):
    """Load cells of a row; zeros outside of the image."""
    mask = (column >= 0) & (column < width) & (channel < channels)
    mask &= (row >= 0) & (row < height)
    at = x_ptr + image + (row * width + column) * channels + channel
    return tl.load(at, mask, 0.0).to(tl.float32)


@triton.jit
def _weight(
    weight_ptr, i: tl.constexpr, channel, channels, FLIP: tl.constexpr
):
    """Load one of the nine weights of the channels, (1, C)."""
    at = weight_ptr + channel * 9 + (8 - i if FLIP else i)
    return tl.load(at, channel < channels, 0.0).to(tl.float32)


@triton.jit
def _convolve(
    x_ptr, weight_ptr, bias_ptr, mean_ptr, out_ptr, height, width, channels,
    FLIP: tl.constexpr, ROWS: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    image, column, channel = place(height, width, channels, W, C)
    first = tl.program_id(1) * ROWS
    mask = (column < width) & (channel < channels)
    upper = tl.zeros((W, C), tl.float32)  # row - 1 of the output
    here = tl.zeros((W, C), tl.float32)
    bias = tl.zeros((1, C), tl.float32)
    if not FLIP:
        bias += tl.load(bias_ptr + channel, channel < channels, 0.0)
        mean_ptr += tl.program_id(2) * channels
        bias -= tl.load(mean_ptr + channel, channel < channels, 0.0)
    w0 = _weight(weight_ptr, 0, channel, channels, FLIP)
    w1 = _weight(weight_ptr, 1, channel, channels, FLIP)
    w2 = _weight(weight_ptr, 2, channel, channels, FLIP)
    w3 = _weight(weight_ptr, 3, channel, channels, FLIP)
    w4 = _weight(weight_ptr, 4, channel, channels, FLIP)
    w5 = _weight(weight_ptr, 5, channel, channels, FLIP)
    w6 = _weight(weight_ptr, 6, channel, channels, FLIP)
    w7 = _weight(weight_ptr, 7, channel, channels, FLIP)
    w8 = _weight(weight_ptr, 8, channel, channels, FLIP)
    for i in range(ROWS + 2):
        row = tl.full((1, 1), first - 1 + i, tl.int32)
        h, w, n = height, width, channels
        a = load_cells(x_ptr, image, row, column - 1, channel, h, w, n)
        b = load_cells(x_ptr, image, row, column, channel, h, w, n)
        c = load_cells(x_ptr, image, row, column + 1, channel, h, w, n)
        upper += w6 * a + w7 * b + w8 * c
        at = out_ptr + image + ((row - 1) * width + column) * channels
        done = mask & (row > first) & (row <= height)
        out = (upper + bias).to(out_ptr.dtype.element_ty)
        tl.store(at + channel, out, done)
        upper = here + w3 * a + w4 * b + w5 * c
        here = w0 * a + w1 * b + w2 * c


def cut_rows(
    x: Tensor, tile: dict[str, int]
) -> tuple[tuple[int, int, int], dict[str, int]]:
    """Cut images into tiles; returns the grid and the sizes of a tile."""
    images, height, width, channels = x.shape
    rows = tile['ROWS']
    while rows > 1 and rows >= 2 * height:
        rows //= 2
    tiles = divide(width, tile['W']) * divide(channels, tile['C'])
    return (tiles, divide(height, rows), images), {**tile, 'ROWS': rows}


@operator(lambda x, weight, bias, mean: like(x))
def convolve(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor) -> Tensor:
    """Convolve x (B, H, W, C), padded with zeros, by weight (C, 1, 3, 3).

    Then adds the bias (C,) and subtracts the mean (B, C).
    """
    return _launch(x, weight, bias, mean)


@operator(lambda grad, weight: like(grad))
def convolve_back(grad: Tensor, weight: Tensor) -> Tensor:
    """Convolve gradients (B, H, W, C) by the weights turned around."""
    return _launch(grad, weight, grad, grad, flip=True)


def _launch(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, flip: bool = False
) -> Tensor:
    out = like(x)
    grid, sizes = cut_rows(x, TILE)
    launch(
        _convolve, grid, x, weight, bias, mean, out, *x.shape[1:], FLIP=flip,
        **sizes,
    )  # fmt: skip
    return out
