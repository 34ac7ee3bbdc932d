"""Products of the MLP with GELU, or its slope, behind them in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

TILE = dict(M=64, N=128, K=32)


@triton.jit
def _multiply(
    x_ptr, weight_ptr, bias_ptr, hidden_ptr, out_ptr, scale_ptr, dhidden_ptr,
    parts_ptr, rows, columns, depth, image_rows, step_n, step_k,
    BACKWARD: tl.constexpr, KEEP: tl.constexpr, SCALE: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    column = tl.program_id(1) * N + tl.arange(0, N)
    k = tl.arange(0, K)
    inside = (row < rows)[:, None]
    total = tl.zeros((M, N), tl.float32)
    for start in range(0, depth, K):
        index = start + k
        x = tl.load(
            x_ptr + row[:, None] * depth + index[None],
            inside & (index < depth)[None],
            0.0,
        )
        weight = tl.load(
            weight_ptr + index[:, None] * step_k + column[None] * step_n,
            (index < depth)[:, None] & (column < columns)[None],
            0.0,
        )
        if WIDEN:
            x, weight = x.to(tl.float32), weight.to(tl.float32)
        total += tl.dot(x, weight, input_precision=PRECISION)
    mask = inside & (column < columns)[None]
    at = row[:, None] * columns + column[None]
    if BACKWARD:
        hidden = tl.load(hidden_ptr + at, mask, 0.0).to(tl.float32)
    else:
        bias = tl.load(bias_ptr + column, column < columns, 0.0)
        hidden = total + bias.to(tl.float32)[None]
        if KEEP:
            hidden = hidden.to(hidden_ptr.dtype.element_ty)
            tl.store(hidden_ptr + at, hidden, mask)
            hidden = hidden.to(tl.float32)
    # The exact GELU and its slope; 1 / sqrt(2) and 1 / sqrt(2 pi).
    normal = 0.5 * (1 + tl.erf(hidden * 0.7071067811865476))
    out = hidden * normal
    if BACKWARD:
        density = tl.exp(-0.5 * hidden * hidden) * 0.3989422804014327
        dhidden = total * (normal + hidden * density)
        if SCALE:
            scale = tl.load(scale_ptr + row // image_rows, row < rows, 0.0)
            scale = scale.to(tl.float32)[:, None]
            out *= scale
            dhidden *= scale
        dhidden = dhidden.to(dhidden_ptr.dtype.element_ty)
        tl.store(dhidden_ptr + at, dhidden, mask)
        part = tl.program_id(0) * columns + column
        parts = tl.sum(tl.where(mask, dhidden.to(tl.float32), 0.0), 0)
        tl.store(parts_ptr + part, parts, column < columns)
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)


def _launch(x, weight, steps, image_rows=1, **tensors) -> None:
    missing = dict.fromkeys(('bias', 'hidden', 'scale', 'dhidden', 'parts'), x)
    pointers = {f'{k}_ptr': v for k, v in {**missing, **tensors}.items()}
    rows, depth, columns = x.numel() // x.shape[-1], x.shape[-1], 0
    columns = tensors['out'].shape[-1]
    grid = triton.cdiv(rows, TILE['M']), triton.cdiv(columns, TILE['N'])
    precise = torch.get_float32_matmul_precision() == 'highest'
    if rows:
        wrap_triton(_multiply)[grid](
            x_ptr=x, weight_ptr=weight, rows=rows, columns=columns,
            depth=depth, image_rows=image_rows, step_n=steps[0],
            step_k=steps[1], BACKWARD='dhidden' in tensors,
            KEEP='hidden' in tensors, SCALE='scale' in tensors,
            PRECISION='ieee' if precise else 'tf32',
            # Triton's interpreter would multiply the bits of bfloat16.
            WIDEN=x.device.type == 'cpu', **pointers, **TILE,
        )  # fmt: skip


@triton_op('mmvheat::linear_gelu', mutates_args={})
def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """GELU of a linear layer of x (..., C); weight (N, C), bias (N,)."""
    out = x.new_empty(*x.shape[:-1], len(weight))
    _launch(x, weight, weight.stride(), bias=bias, out=out)
    return out


@triton_op('mmvheat::linear_gelu_keep', mutates_args={})
def linear_gelu_keep(
    x: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the same, and return what comes before GELU first."""
    hidden, out = (x.new_empty(*x.shape[:-1], len(weight)) for _ in range(2))
    _launch(x, weight, weight.stride(), bias=bias, hidden=hidden, out=out)
    return hidden, out


@triton_op('mmvheat::linear_gelu_backward', mutates_args={})
def linear_gelu_backward(
    grad: Tensor, scale: Tensor | None, weight: Tensor, hidden: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate a linear layer, weight (C, N), and GELU before it.

    Args: the gradient (B, H, W, C) of what a scale (B,) of the images
    multiplies; ``hidden`` (B, H, W, N) came before GELU. Returns its gradient,
    its GELU again times the scale, and parts of the sum of the gradient.
    """
    dhidden, out, parts = outputs = _make_gradients(grad, hidden)
    tensors = dict(hidden=hidden, out=out, dhidden=dhidden, parts=parts)
    if scale is not None:
        tensors['scale'] = scale
    image_rows = grad.shape[1] * grad.shape[2]
    _launch(grad, weight, weight.stride()[::-1], image_rows, **tensors)
    return outputs


def _make_gradients(grad: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
    parts = triton.cdiv(grad.numel() // grad.shape[-1], TILE['M'])
    return (
        torch.empty_like(hidden),
        torch.empty_like(hidden),
        hidden.new_empty(parts, hidden.shape[-1], dtype=torch.float32),
    )


linear_gelu.register_fake(
    lambda x, weight, bias: x.new_empty(*x.shape[:-1], len(weight))
)
linear_gelu_keep.register_fake(
    lambda x, weight, bias: tuple(
        x.new_empty(*x.shape[:-1], len(weight)) for _ in range(2)
    )
)
linear_gelu_backward.register_fake(
    lambda grad, scale, weight, hidden: _make_gradients(grad, hidden)
)
