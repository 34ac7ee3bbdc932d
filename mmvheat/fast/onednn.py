"""Products by oneDNN, with what stands behind them, at evaluation on a CPU.

In single precision torch takes MKL, which leaves half of some processors with
AVX-512 unused (a product of a Zen 5 takes 4.9 ms by MKL, 2.0 by oneDNN), and
passes over the features once more for an activation. Where there is AVX2 alone
oneDNN costs 3 to 15 % of an image (Zen 3), and is left alone.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from mmvheat.ops import get_compute_dtype, is_autocast, split_mean


def has_onednn(x: Tensor) -> bool:
    """Tell whether the functions of this file take ``x``."""
    return (
        x.device.type == 'cpu'
        and torch.backends.mkldnn.enabled
        and get_compute_dtype(x) in _list_dtypes()
    )


@functools.cache
def _list_dtypes() -> tuple[torch.dtype, ...]:
    # A private operator, which torch's own compiler emits; there from 2.6 on.
    there = (
        torch.backends.cpu.get_cpu_capability() == 'AVX512'
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, '_linear_pointwise')
    )
    half = there and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32,) * there + (torch.bfloat16,) * half


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str = 'none'
) -> Tensor:
    """Compute a linear layer, and GELU (``'gelu'``) or SiLU (``'swish'``)."""
    if is_autocast(x):
        dtype = get_compute_dtype(x)
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    return torch.ops.mkldnn._linear_pointwise(
        x, weight, bias, activation, [], 'none'
    )


def conduct(x: Tensor, decay: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Compute :func:`mmvheat.ops.propagate` in single precision.

    It takes images (B, H, W, C), a decay (H, W, C), and cosine bases (H, H)
    and (W, W). Images go one by one, which pays above 16 rows.
    """
    means, rests = split_mean(x)
    out, decay = torch.empty_like(rests), decay.transpose(0, 1)
    for rest, mean, result in zip(rests, means, out):
        rest = _multiply(rows, rest).transpose(0, 1)
        rest = _multiply(columns, rest).mul_(decay)
        rest = _multiply(columns.t(), rest).transpose(0, 1)
        torch.add(_multiply(rows.t(), rest), mean, out=result)
    return out


def _multiply(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply (H, H) and (H, W, C) along H, in one wide product."""
    return linear(matrix, x.reshape(len(x), -1).t(), None).view(x.shape)
