"""What all kernels share: shapes, and who may run them."""

from __future__ import annotations

import torch
import triton
from torch import Tensor


def choose_rows(rows: int, channels: int) -> tuple[tuple[int], dict[str, int]]:
    """Choose how many rows of channels a program takes.

    Returns:
        tuple[tuple[int], dict[str, int]]: The grid, and the sizes of a tile.
    """
    width = triton.next_power_of_2(channels)
    height = max(1, 4096 // width)
    return (triton.cdiv(rows, height),), dict(R=height, C=width)


def like(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Make room for what has the shape of x, contiguous."""
    return x.new_empty(x.shape, dtype=dtype)


def make_parts(x: Tensor) -> Tensor:
    """Make room for a sum over the rows of each program, twice."""
    channels = x.shape[-1]
    (programs,), _ = choose_rows(x.numel() // channels, channels)
    return x.new_empty((2, programs, channels), dtype=torch.float32)
