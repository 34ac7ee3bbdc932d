"""Products of features, in as few calls as they take."""

from __future__ import annotations

import torch
from torch import Tensor

from mmvheat.ops.versions import is_compiling


def transform(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Transform images as :func:`mmvheat.ops.transform`.

    Args:
        x (Tensor): Shape (B, H, W, C), perhaps some channels of a tensor.
        rows (Tensor): Shape (H, H).
        columns (Tensor): Shape (W, W).

    Returns:
        Tensor: Shape (B, H, W, C).
    """
    images, height, width, channels = shape = x.shape
    x = _multiply(columns, x.flatten(0, 1))
    return _multiply(rows, x.view(images, height, width * channels)).view(
        shape
    )


def invert(
    x: Tensor, rows: Tensor, columns: Tensor, out: Tensor | None = None
) -> Tensor:
    """Invert :func:`transform`, perhaps to some channels of a tensor."""
    images, height, width, channels = shape = x.shape
    x = _multiply(rows.t(), x.flatten(2))
    x = x.view(images * height, width, channels)
    if out is not None:
        out = out.flatten(0, 1)
    return _multiply(columns.t(), x, out).view(shape)


def _multiply(matrix: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    matrix = matrix.expand(len(x), -1, -1)
    if out is not None and is_compiling():
        return out.copy_(torch.bmm(matrix, x))
    return torch.bmm(matrix, x, out=out)


def outer(grad: Tensor, x: Tensor) -> Tensor:
    """Compute the gradient (N, K) of a weight from (..., N) and (..., K)."""
    return torch.mm(grad.flatten(0, -2).t(), x.flatten(0, -2))
