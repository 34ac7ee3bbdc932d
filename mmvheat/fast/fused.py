"""A block by fused kernels, on trial: no card has measured them yet.

Each passes over the features once where torch's operators pass several times:
residual sum and norm, gated norm, decay, product and GELU. In training a block
keeps ten values a channel and computes the rest again on the way back, never
a product.
"""

from __future__ import annotations

import functools
import os
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvheat.ops import (
    get_compute_dtype,
    heat_decay,
    is_autocast,
    transform_2d,
)

from .kept import get_bases
from .seam import is_on_trial

_LAYERS = 'norm1 op.dwconv op.linear op.out_norm op.out_linear norm2 mlp.fc1'
_LAYERS = (*_LAYERS.split(), 'mlp.fc2')
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_NORMS = ('norm1', 'op.out_norm', 'norm2')


def can_fuse(block: nn.Module, x: Tensor) -> bool:
    """Tell whether there are kernels for a block, of layers that are plain."""
    conv, channels = block.op.dwconv, x.shape[-1]
    return (
        is_on_trial()
        and not block.post_norm
        and block.gamma1 is None
        and conv.weight.shape == (channels, 1, 3, 3)
        and conv.stride == conv.padding == conv.dilation == (1, 1)
        and conv.padding_mode == 'zeros'
        and block.mlp.fc1.kernel_size == block.mlp.fc2.kernel_size == (1, 1)
        and all(block.get_submodule(name).bias is not None for name in _LAYERS)
        and x.dtype in _DTYPES
        and _has_kernels(x.device, get_compute_dtype(x), channels)
    )


def can_fuse_norm(x: Tensor) -> bool:
    """Tell whether :func:`fused_norm` takes features (B, H, W, C)."""
    return (
        is_on_trial()
        and not torch.is_grad_enabled()
        and x.dtype in _DTYPES
        and x.is_contiguous()
        and _has_kernels(x.device, x.dtype, x.shape[-1])
    )


def fused_norm(layer: nn.Module, x: Tensor, **options: bool) -> Tensor:
    """Run a layer norm with what stands behind it, without gradients.

    Args:
        layer (nn.Module): The norm.
        x (Tensor): Features, shape (B, H, W, C).
        options (bool): ``gelu``, and ``channels_first`` for (B, C, H, W).
    """
    from .kernels import norm

    dtype = torch.float32 if is_autocast(x) else x.dtype
    return norm.norm(x, layer.weight, layer.bias, layer.eps, dtype, **options)


def run_fused(block: nn.Module, x: Tensor, freq_embed: Tensor) -> Tensor:
    """Run the block.

    Args:
        block (nn.Module): One that :func:`can_fuse`.
        x (Tensor): Shape (B, H, W, C).
        freq_embed (Tensor): FVE of the size of the features, (H, W, C).

    Returns:
        Tensor: Shape (B, H, W, C).
    """
    to_k = block.op.to_k[0]
    k = F.linear(freq_embed, to_k.weight, to_k.bias)
    layers = [block.get_submodule(name) for name in _LAYERS]
    params = [p for layer in layers for p in (layer.weight, layer.bias)]
    scales = [block.scale(x, None) for _ in range(2)]
    scales = [scale if scale is None else scale.flatten() for scale in scales]
    eps = [block.get_submodule(name).eps for name in _NORMS]
    dtype = get_compute_dtype(x)
    args = x.contiguous(), k.contiguous(), *scales, dtype, eps, *params
    if torch.is_grad_enabled():
        return _Block.apply(*args)
    return _run(*args, keep=False)[0]


def _run(
    x: Tensor,
    k: Tensor,
    scale1: Tensor | None,
    scale2: Tensor | None,
    dtype: torch.dtype,
    eps: list[float],
    *params: Tensor,
    keep: bool,
) -> tuple[Tensor, ...]:
    """Run a block; returns its output and what the backward pass needs."""
    from .kernels import decay, gate, mlp, norm

    norm1, conv, linear, out_norm, out_linear, norm2, fc1, fc2 = _cast(
        dtype, params
    )
    x1 = norm.norm(x, *norm1, eps[0], dtype)
    conv_out = _convolve(x1, *conv)
    if keep:
        # One product would keep the memory of u as long as z.
        halves = zip(*(p.chunk(2) for p in linear))
        u, z = (F.linear(conv_out, *half) for half in halves)
    else:
        u, z = F.linear(conv_out, *linear).chunk(2, dim=-1)
    mean = u.mean((1, 2), keepdim=True)
    rest = u - mean
    del u
    rows, columns = get_bases(rest)
    spectrum = transform_2d(rest, rows, columns)
    decayed = decay.decay(spectrum, k)
    rest = transform_2d(decayed, rows.t(), columns.t())
    branch = gate.gated_norm(rest, mean, z, *out_norm, eps[1])
    branch = F.linear(branch, *out_linear)
    # A product that adds to its place leaves no room for a bias.
    in_place = not keep and dtype == x.dtype
    shift = fc2[1] if in_place else None
    x1, branch = norm.add_norm(x, branch, scale1, shift, *norm2, eps[2], dtype)
    if in_place:
        hidden = mlp.linear_gelu(branch, *fc1)
        x1.flatten(0, 2).addmm_(hidden.flatten(0, 2), fc2[0].t())
        return (x1,)
    hidden, branch = mlp.linear_gelu_keep(branch, *fc1)
    branch = F.linear(branch, *fc2)
    if scale2 is None:
        out = x1 + branch
    else:
        out = torch.addcmul(x1, branch, scale2.view(-1, 1, 1, 1))
    return out, conv_out, spectrum, rest, z, mean, x1, hidden


class _Block(torch.autograd.Function):
    """Runs a block in training."""

    @staticmethod
    def forward(ctx, x, k, scale1, scale2, dtype, eps, *params) -> Tensor:
        args = x, k, scale1, scale2
        out, *kept = _run(*args, dtype, eps, *params, keep=True)
        ctx.dtype, ctx.eps = dtype, eps
        ctx.save_for_backward(*args, *kept, *params)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        x, k, scale1, scale2, params = *saved[:4], saved[11:]
        if torch.is_grad_enabled():  # to be differentiated once more
            args = x, k, *params
            out = _run_plain(x, k, scale1, scale2, ctx.dtype, ctx.eps, *params)
            wanted = [t for t in args if t.requires_grad]
            grads = torch.autograd.grad(
                out, wanted, grad, create_graph=True, allow_unused=True
            )
            grads = dict(zip(map(id, wanted), grads))
            dx, dk, *dparams = (grads.get(id(t)) for t in args)
        else:
            dx, dk, dparams = _differentiate(
                saved, grad.contiguous(), ctx.dtype, ctx.eps
            )
            dparams = [
                g.to(p.dtype).view_as(p) for g, p in zip(dparams, params)
            ]
        return dx, dk, None, None, None, None, *dparams


def _differentiate(
    saved: tuple[Tensor | None, ...],
    grad: Tensor,
    dtype: torch.dtype,
    eps: list[float],
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Compute the gradients of x, k and the parameters."""
    from .kernels import decay, gate, mlp, norm_backward

    x, k, scale1, scale2, conv_out, spectrum, rest, z, mean, x1, hidden = (
        saved[:11]
    )
    norm1, conv, linear, out_norm, out_linear, norm2, fc1, fc2 = _cast(
        dtype, saved[11:]
    )

    below = grad.to(dtype)
    dhidden, active, parts = mlp.linear_gelu_backward(
        below, scale2, fc2[0], hidden
    )
    dfc2 = [_outer(below, active), _sum(below, scale2)]
    del active
    below = dhidden @ fc1[0]
    dx1, active, norm_parts = norm_backward(below, x1, grad, *norm2, eps[2])
    dfc1 = [_outer(dhidden, active), parts.sum(0)]
    dnorm2 = norm_parts.sum(1)
    del dhidden

    below = dx1.to(dtype)
    drest, dz, active, parts = gate.gated_norm_backward(
        below @ out_linear[0], scale1, rest, mean, z, *out_norm, eps[1]
    )
    dout_linear = [_outer(below, active), _sum(below, scale1)]
    dout_norm = parts.sum(1)
    rows, columns = get_bases(rest)
    dspectrum, dk = decay.decay_backward(
        transform_2d(drest, rows, columns), spectrum, k
    )
    du = transform_2d(dspectrum, rows.t(), columns.t())

    above, below = linear[0].chunk(2)
    dconv = du @ above
    dconv.flatten(0, 2).addmm_(dz.flatten(0, 2), below)
    dlinear = [
        torch.cat([_outer(g, conv_out) for g in (du, dz)]),
        torch.cat([_sum(g) for g in (du, dz)]),
    ]
    below, _, dbias = _convolve_backward(
        dconv, conv_out, conv[0], [True, False, True]
    )
    dx, active, parts = norm_backward(below, x, dx1, *norm1, eps[0])
    _, dweight, _ = _convolve_backward(
        dconv, active, conv[0], [False, True, False]
    )
    dparams = [
        *parts.sum(1), dweight, dbias, *dlinear, *dout_norm, *dout_linear,
        *dnorm2, *dfc1, *dfc2,
    ]  # fmt: skip
    return dx, dk, dparams


def _run_plain(
    x: Tensor,
    k: Tensor,
    scale1: Tensor | None,
    scale2: Tensor | None,
    dtype: torch.dtype,
    eps: list[float],
    *params: Tensor,
) -> Tensor:
    """Run a block by torch's operators, which know all their gradients."""

    def normalize(x: Tensor, i: int, layer: tuple[Tensor, Tensor]) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *layer, eps[i]).to(dtype)

    def scale(branch: Tensor, factor: Tensor | None) -> Tensor:
        return branch if factor is None else branch * factor.view(-1, 1, 1, 1)

    norm1, conv, linear, out_norm, out_linear, norm2, fc1, fc2 = _cast(
        dtype, params
    )
    branch = _convolve(normalize(x, 0, norm1), *conv)
    u, z = F.linear(branch, *linear).chunk(2, dim=-1)
    mean = u.detach().mean((1, 2), keepdim=True)
    rows, columns = get_bases(u)
    spectrum = transform_2d(u - mean, rows, columns)
    spectrum = spectrum * heat_decay(k.relu()).to(dtype)
    u = mean + transform_2d(spectrum, rows.t(), columns.t())
    branch = F.linear(normalize(u, 1, out_norm) * F.silu(z), *out_linear)
    x = x + scale(branch, scale1)
    hidden = F.gelu(F.linear(normalize(x, 2, norm2), *fc1))
    return x + scale(F.linear(hidden, *fc2), scale2)


def _cast(
    dtype: torch.dtype, params: tuple[Tensor, ...]
) -> list[tuple[Tensor, Tensor]]:
    """Pair weights and biases; those of products in the compute dtype."""
    pairs = list(zip(params[::2], params[1::2]))
    for i, name in enumerate(_LAYERS):
        if name not in _NORMS:
            weight, bias = (p.to(dtype) for p in pairs[i])
            if weight.shape[2:] == (1, 1):
                weight = weight.flatten(1)
            pairs[i] = weight, bias
    return pairs


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x = x.permute(0, 3, 1, 2)
    x = F.conv2d(x, weight, bias, padding=1, groups=x.shape[1])
    return x.permute(0, 2, 3, 1).contiguous()


def _convolve_backward(
    grad: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Compute the gradients of input, weight and bias that are wanted."""
    grad, x = (t.permute(0, 3, 1, 2) for t in (grad, x))
    channels = len(weight)
    one, none = [1, 1], [0, 0]
    dx, dweight, dbias = torch.ops.aten.convolution_backward(
        grad, x, weight, [channels], one, one, one, False, none, channels,
        wanted,
    )  # fmt: skip
    if dx is not None:
        dx = dx.permute(0, 2, 3, 1).contiguous()
    return dx, dweight, dbias


def _outer(grad: Tensor, x: Tensor) -> Tensor:
    """Compute the gradient (N, K) of a weight from (..., N) and (..., K)."""
    return grad.flatten(0, -2).t() @ x.flatten(0, -2)


def _sum(grad: Tensor, scale: Tensor | None = None) -> Tensor:
    """Sum (B, H, W, C) up, each image times its scale (B,)."""
    if scale is None:
        return grad.sum((0, 1, 2))
    return scale.to(grad.dtype) @ grad.sum((1, 2))


@functools.cache
def _has_kernels(
    device: torch.device, dtype: torch.dtype, channels: int
) -> bool:
    """Run all kernels once, so that what cannot be compiled is never met."""
    interpreted = os.environ.get('TRITON_INTERPRET') == '1'
    if device.type not in ('cuda', 'meta') and not interpreted:
        return False
    try:
        from .kernels import run_all

        if device.type != 'meta':
            run_all(device, dtype, channels)
    except Exception as error:  # compilers fail in any way
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
        warnings.warn(
            f'The kernels of mmvheat.fast do not run on {device} in {dtype}, '
            f'plain operators do instead ({reason}).',
            stacklevel=2,
        )
        return False
    return True
