"""Layer norm, and the sum of each image behind it, in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .functions import load_row, locate, normalize, store_part
from .launch import cut, launch, like, make_parts, operator

TILE = dict(elements=4096, warp=1024, tiles=4)


@triton.jit
def _forward(
    x_ptr, weight_ptr, bias_ptr, out_ptr, part_ptr, cells, channels, eps,
    TILES: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    weight = load_row(weight_ptr, tl.arange(0, C), channels)
    bias = load_row(bias_ptr, tl.arange(0, C), channels)
    total = tl.zeros((R, C), tl.float32)
    for i in range(TILES):
        tile = tl.program_id(0) * TILES + i
        _, _, mask, at = locate(tile, cells, channels, R, C)
        x = tl.load(x_ptr + at, mask, 0.0).to(tl.float32)
        x, _ = normalize(x, mask, channels, eps)
        out = x * weight + bias
        total += tl.where(mask, out, 0.0)
        tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)
    store_part(part_ptr, total, channels, R, C)


def _make_outputs(
    x: Tensor, weight, bias, eps, dtype
) -> tuple[Tensor, Tensor]:
    return like(x, dtype), make_parts(x, TILE, 1)[0]


@operator(_make_outputs)
def norm_sum(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Layer norm of x (B, H, W, C), and sums of it, (B, parts, C)."""
    out, parts = _make_outputs(x, weight, bias, eps, dtype)
    grid, sizes = cut(x, **TILE)
    launch(
        _forward, grid, x, weight, bias, out, parts,
        x.shape[1] * x.shape[2], x.shape[3], eps, **sizes,
    )  # fmt: skip
    return out, parts
