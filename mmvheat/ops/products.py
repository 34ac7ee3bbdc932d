"""Products with matrices, by the fastest routine of the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import is_autocast
from .tracing import is_traced


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute :func:`torch.nn.functional.linear`.

    Args:
        x (Tensor): Shape (..., C_in).
        weight (Tensor): Shape (C_out, C_in).
        bias (Tensor, optional): Shape (C_out,). Defaults to None.

    Returns:
        Tensor: Shape (..., C_out).
    """
    if not _prefers_convolution(x):
        return F.linear(x, weight, bias)
    pixels = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def linear_weight_grad(grad: Tensor, x: Tensor) -> Tensor:
    """Compute the gradient of the weight of :func:`linear`.

    Args:
        grad (Tensor): Gradient of the output, shape (..., C_out).
        x (Tensor): The input, shape (..., C_in).

    Returns:
        Tensor: Shape (C_out, C_in).
    """
    grad, x = grad.flatten(0, -2), x.flatten(0, -2)
    if not _prefers_convolution(x):
        return grad.t() @ x
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
    if x.device.type == 'cpu' and x.element_size() < 4 and not is_traced(x):
        # One wide product is up to three times as fast there.
        return multiply_rows(matrix, x.transpose(1, 2)).transpose(1, 2)
    return _matmul(matrix, x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _matmul(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply (M, N) and (B, N, L)."""
    if _prefers_convolution(x):
        return _ConvolutionProduct.apply(matrix, x)
    return torch.matmul(matrix, x)


class _ConvolutionProduct(torch.autograd.Function):
    """Product with a constant matrix as a convolution in both passes."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, matrix: Tensor, x: Tensor
    ) -> Tensor:
        ctx.save_for_backward(matrix)
        return F.conv1d(x, matrix[:, :, None])

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad: Tensor
    ) -> tuple[None, Tensor]:
        (matrix,) = ctx.saved_tensors
        return None, _ConvolutionProduct.apply(matrix.t(), grad)


def _prefers_convolution(x: Tensor) -> bool:
    """Tell whether a product is better done as a convolution of size 1.

    In single precision on a CPU, convolutions are oneDNN's while matrix
    products are MKL's, which leaves half of an AMD processor unused.
    """
    return (
        x.device.type == 'cpu'
        and x.dtype == torch.float32
        and not is_autocast(x)
        and not is_traced(x)
    )
