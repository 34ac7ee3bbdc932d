"""Products by oneDNN, in single precision and without gradients, on a CPU.

torch takes MKL there, which leaves half of some processors with AVX-512
unused (GFLOP/s of MKL and oneDNN: 205 and 450 on one, 170 and 145 on a Zen 4).
Where there is AVX2 alone oneDNN costs 3 to 15 % of an image (Zen 3), so that
MKL is left in place.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

# Multiply-adds an image from which a product an image pays.
_MIN_WIDE = 2**22


def has_onednn(x: Tensor) -> bool:
    """Tell whether the functions of this file take ``x``."""
    return (
        x.device.type == 'cpu'
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled('cpu')
        and torch.backends.mkldnn.enabled
        and _is_available()
    )


@functools.cache
def _is_available() -> bool:
    # A private operator, which torch's own compiler emits; there from 2.6 on.
    return (
        torch.backends.cpu.get_cpu_capability() == 'AVX512'
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, '_linear_pointwise')
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute :func:`torch.nn.functional.linear`."""
    return torch.ops.mkldnn._linear_pointwise(
        x, weight, bias, 'none', [], 'none'
    )


def transform(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Compute :func:`mmvheat.ops.transform` of images."""
    x = _multiply(columns, x.transpose(1, 2)).transpose(1, 2)
    return _multiply(rows, x)


def _multiply(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply (M, H) and (B, H, W, C) along H: one wide product an image."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width * channels)
    if matrix.numel() * x.shape[2] < _MIN_WIDE:
        x = torch.matmul(matrix, x)
    else:
        x = torch.stack([linear(matrix, image.t()) for image in x])
    return x.view(batch, -1, width, channels)
