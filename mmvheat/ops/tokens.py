"""Functions of single tokens, applied a piece of the image at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .precision import get_compute_dtype
from .products import linear, linear_weight_grad, pack_weight
from .tracing import is_traced


def map_tokens(
    function: Callable[..., Tensor],
    tokens: Sequence[Tensor],
    parameters: Sequence[Tensor] = (),
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Apply a function of single tokens, then perhaps a linear layer.

    On a CPU, tokens that do not fit in the cache run in pieces that do, and
    only the arguments are kept for the backward pass, which calls the function
    again. There, fresh memory costs more time than arithmetic.

    Args:
        function (Callable): A pure, differentiable function of pieces
            (b, n, C_i) of the tokens and of the parameters with the result
            (b, n, C).
        tokens (Sequence[Tensor]): Tensors of shape (B, H, W, C_i); those
            behind the first one may have the shape (B, 1, 1, C_i).
        parameters (Sequence[Tensor]): What else the function takes; matrices
            among them as weights of :func:`linear` only.
        weight (Tensor, optional): Of the linear layer, shape (C_out, C).
            Defaults to None, no such layer.
        bias (Tensor, optional): Of the linear layer, shape (C_out,).
            Defaults to None.

    Returns:
        Tensor: Shape (B, H, W, C_out), or (B, H, W, C) without ``weight``.
    """
    sizes = tokens[0].shape[1:3]
    flat = [t.flatten(1, 2) for t in tokens]
    dtype = get_compute_dtype(tokens[0])
    if weight is not None:
        weight, bias = weight.to(dtype), bias.to(dtype)
    if (
        tokens[0].device.type == 'cpu'
        and not any(map(is_traced, tokens))
        and len(list(_split(flat[0]))) > 1
    ):
        out = _MapTokens.apply(
            function, len(tokens), weight, bias, *flat, *parameters
        )
    else:
        out = function(*flat, *parameters)
        if weight is not None:
            out = linear(out, weight, bias)
    return out.unflatten(1, sizes)


class _MapTokens(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        function: Callable[..., Tensor],
        num_tokens: int,
        weight: Tensor | None,
        bias: Tensor | None,
        *args: Tensor,
    ) -> Tensor:
        ctx.function = function
        ctx.num_tokens = num_tokens
        ctx.autocast = (
            torch.is_autocast_enabled('cpu'),
            torch.get_autocast_dtype('cpu'),
        )
        ctx.save_for_backward(weight, bias, *args)
        tokens, parameters = args[:num_tokens], args[num_tokens:]
        weight, *parameters = (
            p if p is None or p.dim() != 2 else pack_weight(p)
            for p in (weight, *parameters)
        )
        out = None
        for piece in _split(tokens[0]):
            result = function(*_get(tokens, piece), *parameters)
            if weight is not None:
                result = linear(result, weight, bias)
            if out is None:
                out = result.new_empty(*tokens[0].shape[:2], result.shape[-1])
            out[piece] = result
        return out

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad_out: Tensor
    ) -> tuple:
        weight, bias, *args = ctx.saved_tensors
        needs_grad = ctx.needs_input_grad[4:]
        num_tokens = ctx.num_tokens
        tokens = args[:num_tokens]
        grads = [
            None
            if not needed
            else torch.empty_like(a)
            if i < num_tokens and a.shape[1] > 1
            else _make_sum(a)
            for i, (a, needed) in enumerate(zip(args, needs_grad))
        ]
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[2]:
            grad_weight = _make_sum(weight)
        if ctx.needs_input_grad[3]:
            grad_bias = _make_sum(bias)
        enabled, dtype = ctx.autocast
        parameters = [
            a.detach().requires_grad_(needed)
            for a, needed in zip(args[num_tokens:], needs_grad[num_tokens:])
        ]
        weight_t = None if weight is None else pack_weight(weight.t())
        for piece in _split(tokens[0]):
            pieces = [
                t.detach().requires_grad_(needed)
                for t, needed in zip(_get(tokens, piece), needs_grad)
            ]
            with (
                torch.enable_grad(),
                torch.autocast('cpu', dtype, enabled=enabled),
            ):
                out = ctx.function(*pieces, *parameters)
            grad = grad_out[piece]
            if weight is not None:
                hidden = out.detach().to(grad.dtype)
                if grad_weight is not None:
                    grad_weight += linear_weight_grad(grad, hidden)
                if grad_bias is not None:
                    grad_bias += grad.sum((0, 1))
                grad = linear(grad, weight_t)
            inputs = [t for t in (*pieces, *parameters) if t.requires_grad]
            if not inputs:
                continue
            parts = iter(torch.autograd.grad(out, inputs, grad.to(out.dtype)))
            for i, total in enumerate(grads):
                if total is None:
                    continue
                if i >= num_tokens:
                    total += next(parts)
                elif total.shape[1] == 1:
                    total[piece[0]] += next(parts)
                else:
                    total[piece] = next(parts)
        return None, None, grad_weight, grad_bias, *grads


def _split(tokens: Tensor) -> Iterator[tuple[slice, slice]]:
    """Cut tokens (B, n, C) in equal pieces for the second-level caches."""
    batch, length, channels = tokens.shape
    row = channels * tokens.element_size()
    size = max(512, 2**20 // row) * torch.get_num_threads()
    images = max(1, size // length)
    size = math.ceil(length / math.ceil(length / size))
    for image in range(0, batch, images):
        for start in range(0, length, size):
            yield slice(image, image + images), slice(start, start + size)


def _get(
    tokens: Sequence[Tensor | None], piece: tuple[slice, slice]
) -> list[Tensor | None]:
    """Take a piece of tensors (B, n, C) or (B, 1, C)."""
    return [
        t if t is None else t[piece] if t.shape[1] > 1 else t[piece[0]]
        for t in tokens
    ]


def _make_sum(like: Tensor) -> Tensor:
    """Make zeros for a sum over pieces, at least in single precision."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.zeros_like(like, dtype=dtype)
