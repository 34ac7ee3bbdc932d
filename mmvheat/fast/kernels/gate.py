"""The gated norm of the operator in one pass, its gradients in another.

``norm(rest + mean) * silu(z)``, where the mean of each image comes back.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

from .launch import choose_rows, like, make_parts
from .norm import normalize


@triton.jit
def _load(
    rest_ptr, mean_ptr, z_ptr, z_step, rows, image_rows, channels,
    R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column = tl.arange(0, C)
    mask = (row < rows)[:, None] & (column < channels)[None]
    at = row[:, None] * channels + column[None]
    x = tl.load(rest_ptr + at, mask, 0.0).to(tl.float32)
    image = (row // image_rows)[:, None] * channels + column[None]
    x += tl.load(mean_ptr + image, mask, 0.0).to(tl.float32)
    z = tl.load(z_ptr + row[:, None] * z_step + column[None], mask, 0.0)
    return x, z.to(tl.float32), row, column, mask, at


@triton.jit
def _forward(
    rest_ptr, mean_ptr, z_ptr, weight_ptr, bias_ptr, out_ptr, z_step, rows,
    image_rows, channels, eps, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    x, z, row, column, mask, at = _load(
        rest_ptr, mean_ptr, z_ptr, z_step, rows, image_rows, channels, R, C
    )
    x, _ = normalize(x, mask, channels, eps)
    weight = tl.load(weight_ptr + column, column < channels, 0.0)
    bias = tl.load(bias_ptr + column, column < channels, 0.0)
    out = x * weight.to(tl.float32)[None] + bias.to(tl.float32)[None]
    out *= z * tl.sigmoid(z)
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)


@triton.jit
def _backward(
    grad_ptr, scale_ptr, rest_ptr, mean_ptr, z_ptr, weight_ptr, bias_ptr,
    drest_ptr, dz_ptr, out_ptr, dweight_ptr, dbias_ptr, z_step, rows,
    image_rows, channels, eps,
    SCALE: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    x, z, row, column, mask, at = _load(
        rest_ptr, mean_ptr, z_ptr, z_step, rows, image_rows, channels, R, C
    )
    inside = column < channels
    x, deviation = normalize(x, mask, channels, eps)
    weight = tl.load(weight_ptr + column, inside, 0.0).to(tl.float32)[None]
    bias = tl.load(bias_ptr + column, inside, 0.0).to(tl.float32)[None]
    normed = x * weight + bias
    gate = tl.sigmoid(z)
    slope = gate * (1 + z * (1 - gate))
    gate *= z
    grad = tl.load(grad_ptr + at, mask, 0.0).to(tl.float32)
    out = normed * gate
    if SCALE:
        scale = tl.load(scale_ptr + row // image_rows, row < rows, 0.0)
        grad *= scale[:, None].to(tl.float32)
        out *= scale[:, None].to(tl.float32)
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask)
    dz = grad * normed * slope
    tl.store(dz_ptr + at, dz.to(dz_ptr.dtype.element_ty), mask)
    grad *= gate
    part = tl.program_id(0) * channels + column
    tl.store(dweight_ptr + part, tl.sum(grad * x, 0), inside)
    tl.store(dbias_ptr + part, tl.sum(grad, 0), inside)
    grad *= weight
    along = tl.sum(grad * x, 1) / channels
    grad -= x * along[:, None] + (tl.sum(grad, 1) / channels)[:, None]
    grad *= deviation[:, None]
    tl.store(drest_ptr + at, grad.to(drest_ptr.dtype.element_ty), mask)


@triton_op('mmvheat::gated_norm', mutates_args={})
def gated_norm(
    rest: Tensor,
    mean: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> Tensor:
    """Norm of rest (B, H, W, C) + mean (B, 1, 1, C), times SiLU of z.

    z has the shape of rest, and may be half of the channels of a tensor.
    """
    out = like(rest, rest.dtype)
    rows, channels = rest.numel() // rest.shape[-1], rest.shape[-1]
    grid, sizes = choose_rows(rows, channels)
    if rows:
        wrap_triton(_forward)[grid](
            rest, mean, z, weight, bias, out, z.stride(2), rows,
            rest.shape[1] * rest.shape[2], channels, eps, **sizes,
        )  # fmt: skip
    return out


@triton_op('mmvheat::gated_norm_backward', mutates_args={})
def gated_norm_backward(
    grad: Tensor,
    scale: Tensor | None,
    rest: Tensor,
    mean: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate, where a scale (B,) of the images comes behind.

    Returns the gradients of rest and z, the result again times the scale, and
    parts of the gradients of weight and bias, (2, parts, C).
    """
    outputs = drest, dz, out, parts = _make_gradients(rest)
    rows, channels = rest.numel() // rest.shape[-1], rest.shape[-1]
    grid, sizes = choose_rows(rows, channels)
    if rows:
        wrap_triton(_backward)[grid](
            grad, grad if scale is None else scale, rest, mean, z, weight,
            bias, drest, dz, out, parts[0], parts[1], z.stride(2), rows,
            rest.shape[1] * rest.shape[2], channels, eps,
            SCALE=scale is not None, **sizes,
        )  # fmt: skip
    return outputs


def _make_gradients(rest: Tensor) -> tuple[Tensor, ...]:
    return *(like(rest, rest.dtype) for _ in range(3)), make_parts(rest)


gated_norm.register_fake(lambda rest, *_: like(rest, rest.dtype))
gated_norm_backward.register_fake(
    lambda grad, scale, rest, *_: _make_gradients(rest)
)
