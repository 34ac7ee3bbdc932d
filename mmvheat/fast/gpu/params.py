"""Parameters in the dtype of products, and gradients in that of parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]  # weight and bias of a layer


def cast(tensors: list[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
    """Cast tensors in one kernel, into one piece of memory."""
    if all(t.dtype == dtype for t in tensors):
        return tensors
    # Each starts at 16 bytes, as kernels like it.
    sizes = [t.numel() + -t.numel() % 8 for t in tensors]
    room = torch.empty(sum(sizes), dtype=dtype, device=tensors[0].device)
    copies = [
        (piece if size == t.numel() else piece[: t.numel()]).view(t.shape)
        for piece, size, t in zip(room.split(sizes), sizes, tensors)
    ]
    torch._foreach_copy_(copies, tensors)
    return copies


def pair(
    params: tuple[Tensor, ...], dtype: torch.dtype, together: bool = True
) -> list[Pair]:
    """Pair weights and biases, those of products in the compute dtype.

    Those are cast together, or each by an operator that knows its gradient.
    Returns those of the two norms, the MLP, and the operator's in order.
    """
    norm1, conv, out_norm, norm2 = (params[i : i + 2] for i in (0, 2, 6, 10))
    tensors = [*params[4:6], *params[8:10], *params[12:]]  # of products
    if together:
        tensors = cast(tensors, dtype)
    else:
        tensors = [t.to(dtype) for t in tensors]
    linear, out_linear, fc1, fc2 = (
        (w.flatten(1), bias) for w, bias in zip(tensors[::2], tensors[1::2])
    )
    return [norm1, norm2, fc1, fc2, conv, linear, out_norm, out_linear]


def cast_like(
    grads: Sequence[Tensor], params: Sequence[Tensor]
) -> list[Tensor]:
    """Give gradients the dtypes, shapes and strides of parameters."""
    others = [i for i, g in enumerate(grads) if g.dtype != params[i].dtype]
    copies = [
        torch.empty_like(grads[i], dtype=params[i].dtype) for i in others
    ]
    if others:  # in one kernel
        torch._foreach_copy_(copies, [grads[i] for i in others])
    found = {**dict(enumerate(grads)), **dict(zip(others, copies))}
    return [_lay_out(found[i], p) for i, p in enumerate(params)]


def _lay_out(grad: Tensor, parameter: Tensor) -> Tensor:
    """Lay a gradient out as its parameter, as DDP's buckets want it."""
    strides = parameter.stride()
    if grad.shape != parameter.shape:
        grad = grad.view_as(parameter)
    if grad.stride() == strides:
        return grad
    sizes = zip(parameter.shape, grad.stride(), strides)
    if all(size == 1 or own == other for size, own, other in sizes):
        return grad.as_strided(parameter.shape, strides)
    return torch.empty_like(parameter).copy_(grad)
