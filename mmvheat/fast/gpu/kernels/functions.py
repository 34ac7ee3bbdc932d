"""Functions of tiles."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def locate(tile, cells, channels, R: tl.constexpr, C: tl.constexpr):
    """Find a tile of an image: its cells, channels, mask and addresses."""
    cell = tile.to(tl.int64) * R + tl.arange(0, R)
    column = tl.arange(0, C)
    mask = (cell < cells)[:, None] & (column < channels)[None]
    at = (tl.program_id(1).to(tl.int64) * cells + cell)[:, None] * channels
    return cell, column, mask, at + column[None]


@triton.jit
def locate_inside(cells, channels, R: tl.constexpr, C: tl.constexpr):
    """Do as ``locate``, with addresses in the image, of 32 bits."""
    cell = tl.program_id(0) * R + tl.arange(0, R)
    column = tl.arange(0, C)
    mask = (cell < cells)[:, None] & (column < channels)[None]
    return cell, column, mask, cell[:, None] * channels + column[None]


@triton.jit
def load_weights(
    weight1_ptr, weight2_ptr, unit, column, width, channels,
    WIDEN: tl.constexpr,
):  # fmt: skip
    """Load those of hidden units, (N, C) of both products."""
    inside = (column < channels)[None] & (unit < width)[:, None]
    at = unit[:, None] * channels + column[None]
    weight1 = tl.load(weight1_ptr + at, inside, 0.0)
    at = unit[:, None] + column[None] * width
    weight2 = tl.load(weight2_ptr + at, inside, 0.0)
    if WIDEN:
        weight1, weight2 = weight1.to(tl.float32), weight2.to(tl.float32)
    return weight1, weight2


@triton.jit
def locate_first(cell, column, cells, channels):
    """Find the addresses of a tile where channels stand first."""
    at = tl.program_id(1).to(tl.int64) * cells * channels
    return at + cell[:, None] + column[None].to(tl.int64) * cells


@triton.jit
def store_part(part_ptr, sums, channels, R: tl.constexpr, C: tl.constexpr):
    """Store the sum of a tile over its cells as that of this program."""
    column = tl.arange(0, C)
    part = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    at = part_ptr + part.to(tl.int64) * channels + column
    tl.store(at, tl.sum(sums, 0), column < channels)


@triton.jit
def load_row(pointer, column, channels):
    """Load a vector of the channels in single precision, (1, C)."""
    row = tl.load(pointer + column, column < channels, 0.0)
    return row.to(tl.float32)[None]


@triton.jit
def normalize(x, mask, channels, eps):
    """Normalise cells; returns the deviation's inverse, (R, 1), as well."""
    mean = tl.sum(x, 1) / channels
    x = tl.where(mask, x - mean[:, None], 0.0)
    scale = 1 / tl.sqrt(tl.sum(x * x, 1) / channels + eps)
    return x * scale[:, None], scale[:, None]


@triton.jit
def denormalize(grad, x, deviation, channels):
    """Gradient through a norm from that of its result x."""
    along = tl.sum(grad * x, 1) / channels
    grad -= x * along[:, None] + (tl.sum(grad, 1) / channels)[:, None]
    return grad * deviation


@triton.jit
def normal_cdf(x):
    """Distribution function of the normal distribution.

    Half of the time of a GELU is CUDA's erf. This one errs by 1.5e-7 (7.1.26
    of Abramowitz and Stegun, Handbook of Mathematical Functions).
    """
    z = tl.abs(x) * 0.7071067811865476
    t = 1 / (1 + 0.3275911 * z)
    series = 1.421413741 + t * (-1.453152027 + t * 1.061405429)
    series = t * (0.254829592 + t * (-0.284496736 + t * series))
    tail = 0.5 * series * tl.exp(-z * z)
    return tl.where(x > 0, 1 - tail, tail)


@triton.jit
def gelu_slope(x):
    """Derivative of GELU."""
    return normal_cdf(x) + x * tl.exp(-0.5 * x * x) * 0.3989422804014327
