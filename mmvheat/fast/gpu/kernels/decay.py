"""Equation (6) between two transforms in one pass, and its gradients.

The decay of a frequency is computed once for all images, and never stored.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from .launch import cut, launch, like, operator


@triton.jit
def _filter(
    x_ptr, grad_ptr, k_ptr, out_ptr, dk_ptr, images, rows, width, channels,
    row_step, column_step,
    BACKWARD: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column = tl.arange(0, C)
    mask = (row < rows)[:, None] & (column < channels)[None]
    at = row[:, None] * channels + column[None]
    k = tl.load(k_ptr + at, mask, 0.0).to(tl.float32)
    n = (row // width).to(tl.float32) * row_step
    m = (row % width).to(tl.float32) * column_step
    square = (n * n + m * m)[:, None]
    # An infinite k times the frequency (0, 0) would be no number.
    decay = tl.exp(-tl.minimum(tl.maximum(k, 0.0), 3.4e38) * square)
    total = tl.zeros((R, C), tl.float32)
    here = at
    for _ in range(images):
        x = tl.load(x_ptr + here, mask, 0.0).to(tl.float32)
        if BACKWARD:
            grad = tl.load(grad_ptr + here, mask, 0.0).to(tl.float32) * decay
            total += grad * x
            x = grad
        else:
            x *= decay
        tl.store(out_ptr + here, x.to(out_ptr.dtype.element_ty), mask)
        here += rows * channels
    if BACKWARD:
        dk = tl.where(k > 0, -total * square, 0.0)
        tl.store(dk_ptr + at, dk.to(dk_ptr.dtype.element_ty), mask)


def _launch(x: Tensor, grad: Tensor, k: Tensor, out: Tensor, dk: Tensor):
    images, height, width, channels = x.shape
    (tiles, _), sizes = cut(x)
    launch(
        _filter, (tiles,), x, grad, k, out, dk, images, height * width, width,
        channels, math.pi / max(height, 1), math.pi / max(width, 1),
        BACKWARD=dk is not k, **sizes,
    )  # fmt: skip


@operator(lambda spectrum, k: like(spectrum))
def decay(spectrum: Tensor, k: Tensor) -> Tensor:
    """Let a spectrum (B, H, W, C) decay by ReLU(k), k of shape (H, W, C)."""
    out = like(spectrum)
    _launch(spectrum, spectrum, k, out, k)
    return out


@operator(lambda grad, spectrum, k: (like(spectrum), like(k)))
def decay_backward(
    grad: Tensor, spectrum: Tensor, k: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of spectrum and k."""
    out, dk = like(spectrum), like(k)
    _launch(spectrum, grad, k, out, dk)
    return out, dk
