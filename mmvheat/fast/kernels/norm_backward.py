"""Gradients of a layer norm and its result again, in one pass."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

from .launch import choose_rows, like, make_parts
from .norm import normalize


@triton.jit
def _backward(
    grad_ptr, x_ptr, rest_ptr, weight_ptr, bias_ptr, dx_ptr, out_ptr,
    dweight_ptr, dbias_ptr, rows, channels, eps,
    R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column = tl.arange(0, C)
    inside = column < channels
    mask = (row < rows)[:, None] & inside[None]
    at = row[:, None] * channels + column[None]
    x = tl.load(x_ptr + at, mask, 0.0).to(tl.float32)
    x, scale = normalize(x, mask, channels, eps)
    weight = tl.load(weight_ptr + column, inside, 0.0).to(tl.float32)
    bias = tl.load(bias_ptr + column, inside, 0.0).to(tl.float32)
    out = x * weight[None] + bias[None]
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)
    grad = tl.load(grad_ptr + at, mask, 0.0).to(tl.float32)
    part = tl.program_id(0) * channels + column
    tl.store(dweight_ptr + part, tl.sum(grad * x, 0), inside)
    tl.store(dbias_ptr + part, tl.sum(grad, 0), inside)
    grad *= weight[None]
    along = tl.sum(grad * x, 1) / channels
    grad -= x * along[:, None] + (tl.sum(grad, 1) / channels)[:, None]
    rest = tl.load(rest_ptr + at, mask, 0.0).to(tl.float32)
    dx = rest + grad * scale[:, None]
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask)


@triton_op('mmvheat::norm_backward', mutates_args={})
def norm_backward(
    grad: Tensor,
    x: Tensor,
    rest: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate the norm, add the gradient that goes around it.

    Returns the gradient of x, the norm again, in the dtype of ``grad``, and
    parts of the gradients of weight and bias, (2, parts, C).
    """
    dx, out, parts = _make_gradients(grad, x)
    rows, channels = x.numel() // x.shape[-1], x.shape[-1]
    grid, sizes = choose_rows(rows, channels)
    if rows:
        wrap_triton(_backward)[grid](
            grad, x, rest, weight, bias, dx, out, parts[0], parts[1], rows,
            channels, eps, **sizes,
        )  # fmt: skip
    return dx, out, parts


def _make_gradients(grad: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return like(x, x.dtype), like(x, grad.dtype), make_parts(x)


norm_backward.register_fake(lambda grad, x, *_: _make_gradients(grad, x))
