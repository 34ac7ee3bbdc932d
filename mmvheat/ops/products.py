"""Products with matrices, by the fastest routine of the device.

On a CPU that is oneDNN's. torch takes it for half precision only, and MKL in
single precision, which leaves half of an AMD processor unused. oneDNN also
applies an activation before it writes the result to memory.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .precision import get_compute_dtype
from .tracing import is_traced

# Multiply-adds an image from which a product an image pays.
_MIN_WIDE = 2**22

# Activation of ``linear``: function, oneDNN's name of it, and its algorithm.
_ACTIVATIONS = {
    None: (lambda x: x, 'none', ''),
    'relu': (F.relu, 'relu', ''),
    'gelu': (F.gelu, 'gelu', 'none'),
    'silu': (F.silu, 'swish', ''),
}


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
) -> Tensor:
    """Compute :func:`torch.nn.functional.linear`, then an activation.

    Args:
        x (Tensor): Shape (..., C_in).
        weight (Tensor): Shape (C_out, C_in), perhaps from
            :func:`pack_weight`.
        bias (Tensor, optional): Shape (C_out,). Defaults to None.
        activation (str, optional): ``'relu'``, ``'gelu'`` (exact) or
            ``'silu'``. Defaults to None, the identity.

    Returns:
        Tensor: Shape (..., C_out).
    """
    function, name, algorithm = _ACTIVATIONS[activation]
    dtype = get_compute_dtype(x)
    if not _has_onednn(x, dtype):
        return function(F.linear(x, weight, bias))
    x, weight = x.to(dtype), weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    if torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, weight, bias)
    ):
        return function(_Linear.apply(x, weight, bias))
    return torch.ops.mkldnn._linear_pointwise(
        x, weight, bias, name, [], algorithm
    )


def pack_weight(weight: Tensor) -> Tensor:
    """Lay out a constant weight for many calls of :func:`linear`.

    Args:
        weight (Tensor): Shape (C_out, C_in).

    Returns:
        Tensor: The weight in oneDNN's own layout where that pays, in half
        precision on a CPU, else the weight itself.
    """
    if (
        weight.is_mkldnn
        or weight.dtype == torch.float32
        or not _has_onednn(weight, weight.dtype)
    ):
        return weight
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), 4096)


class _Linear(torch.autograd.Function):
    """Linear layer by oneDNN in both passes."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = linear(grad, weight.t())
        if ctx.needs_input_grad[1]:
            grad_weight = linear_weight_grad(grad, x)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.flatten(0, -2).sum(0)
        return grad_x, grad_weight, grad_bias


def linear_weight_grad(grad: Tensor, x: Tensor) -> Tensor:
    """Compute the gradient of the weight of :func:`linear`.

    Args:
        grad (Tensor): Gradient of the output, shape (..., C_out).
        x (Tensor): The input, shape (..., C_in).

    Returns:
        Tensor: Shape (C_out, C_in).
    """
    grad, x = grad.flatten(0, -2), x.flatten(0, -2)
    if x.dtype != torch.float32 or not _has_onednn(x, x.dtype):
        return grad.t() @ x
    # For many tokens of few channels, a convolution is twice as fast.
    return torch.nn.grad.conv2d_weight(
        x[None, :, None, :].permute(0, 3, 1, 2),
        (grad.shape[1], x.shape[1], 1, 1),
        grad[None, :, None, :].permute(0, 3, 1, 2),
    ).flatten(1)


def multiply_rows(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply along H: one wide product an image.

    Args:
        matrix (Tensor): Shape (M, H), constant.
        x (Tensor): Shape (B, H, W, C).

    Returns:
        Tensor: Shape (B, M, W, C).
    """
    batch, height, width, channels = x.shape
    x = _matmul(matrix, x.reshape(batch, height, width * channels))
    height = matrix.shape[0]
    # Through one dimension, so that torch.export can prove for any symbolic
    # width that W*C divides into W and C.
    x = x.reshape(-1).reshape(batch * height * width, channels)
    return x.reshape(batch, height, width, channels)


def multiply_columns(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply along W: a product a row.

    Args:
        matrix (Tensor): Shape (M, W), constant.
        x (Tensor): Shape (B, H, W, C).

    Returns:
        Tensor: Shape (B, H, M, C).
    """
    if _has_onednn(x, x.dtype):
        # One wide product is up to three times as fast there.
        return multiply_rows(matrix, x.transpose(1, 2)).transpose(1, 2)
    return torch.matmul(matrix, x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _matmul(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply (M, N) and (B, N, L)."""
    dtype = get_compute_dtype(x)
    if (
        dtype == torch.float32
        and _has_onednn(x, dtype)
        and matrix.numel() * x.shape[2] >= _MIN_WIDE
    ):
        return _WideProduct.apply(matrix, x)
    return torch.matmul(matrix, x)


class _WideProduct(torch.autograd.Function):
    """Products of a constant matrix in single precision by oneDNN."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, matrix: Tensor, x: Tensor
    ) -> Tensor:
        ctx.save_for_backward(matrix)
        products = [linear(matrix, image.t()) for image in x]
        return products[0][None] if len(x) == 1 else torch.stack(products)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad: Tensor
    ) -> tuple[None, Tensor]:
        (matrix,) = ctx.saved_tensors
        return None, _WideProduct.apply(matrix.t(), grad)


def _has_onednn(x: Tensor, dtype: torch.dtype) -> bool:
    """Tell whether oneDNN multiplies ``x`` in this dtype."""
    return (
        x.device.type == 'cpu'
        and not is_traced(x)
        and torch.backends.mkldnn.enabled
        and dtype in _get_onednn_dtypes()
    )


@functools.cache
def _get_onednn_dtypes() -> tuple[torch.dtype, ...]:
    if not torch.backends.mkldnn.is_available():
        return ()
    onednn = torch.ops.mkldnn
    supported = {
        torch.float32: hasattr(onednn, '_linear_pointwise'),
        torch.bfloat16: onednn._is_mkldnn_bf16_supported(),
        torch.float16: onednn._is_mkldnn_fp16_supported(),
    }
    return tuple(dtype for dtype, yes in supported.items() if yes)
