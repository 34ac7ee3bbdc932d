"""A block by fused kernels, on a GPU.

Each passes over the features once where torch's operators pass several times:
norm and sum, gated norm, decay, depthwise convolution, GELU. In training a
block keeps ten values a channel (eleven, where norms stand behind branches)
and computes the rest again on the way back, never a product.
"""

from __future__ import annotations

import functools
import math
import os
import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvheat.ops import (
    autocast_state,
    get_compute_dtype,
    heat_decay,
    is_autocast,
    transform_2d,
)

from .kept import get_bases
from .seam import is_on_trial

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)

Pair = tuple[Tensor, Tensor]  # weight and bias of a layer


def can_fuse(block: nn.Module, x: Tensor) -> bool:
    """Tell whether there are kernels for a block, of layers that are plain."""
    conv, channels = block.op.dwconv, x.shape[-1]
    return (
        (block.post_norm or block.gamma1 is None)
        and conv.weight.shape == (channels, 1, 3, 3)
        and conv.stride == conv.padding == conv.dilation == (1, 1)
        and conv.padding_mode == 'zeros'
        and block.mlp.fc1.kernel_size == block.mlp.fc2.kernel_size == (1, 1)
        and all(layer.bias is not None for layer in _list_layers(block))
        and x.dtype in _DTYPES
        # Addresses inside of an image have 32 bits.
        and x[:1].numel() * block.mlp.fc1.out_channels < 2**31 * channels
        and _has_kernels(x.device, get_compute_dtype(x), channels)
    )


def _list_layers(block: nn.Module) -> tuple[nn.Module, ...]:
    """List the layers of a block in the order of the computation."""
    op, mlp = block.op, block.mlp
    return (
        block.norm1, op.dwconv, op.linear, op.out_norm, op.out_linear,
        block.norm2, mlp.fc1, mlp.fc2,
    )  # fmt: skip


def can_fuse_norm(x: Tensor) -> bool:
    """Tell whether :func:`fused_norm` takes features."""
    return (
        x.dim() == 4
        and x.dtype in _DTYPES
        and x.is_contiguous()
        and _has_kernels(x.device, x.dtype, x.shape[-1])
    )


def fused_norm(layer: nn.Module, x: Tensor, **options: bool) -> Tensor:
    """Run a layer norm with what stands behind it.

    Args:
        layer (nn.Module): The norm.
        x (Tensor): Features, shape (B, H, W, C).
        options (bool): ``channels_first`` for (B, C, H, W), and ``gelu``,
            which has no gradient.
    """
    from .kernels import norm

    dtype = torch.float32 if is_autocast(x) else x.dtype
    args = x, layer.weight, layer.bias, layer.eps, dtype
    if torch.is_grad_enabled():
        return _Norm.apply(*args, *options.values())
    return norm.norm(*args, **options)


class _Norm(torch.autograd.Function):
    """Runs a norm in training."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps, dtype, channels_first=False):
        from .kernels import norm

        ctx.save_for_backward(x, weight, bias)
        ctx.settings = eps, dtype, channels_first
        return norm.norm(
            x, weight, bias, eps, dtype, channels_first=channels_first
        )

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        from .kernels import norm_alone_backward

        x, weight, bias = ctx.saved_tensors
        eps, dtype, channels_first = ctx.settings
        if channels_first:
            grad = grad.permute(0, 2, 3, 1)
        if torch.is_grad_enabled():  # to be differentiated once more
            wanted = [t for t in (x, weight, bias) if t.requires_grad]
            params = weight.to(dtype), bias.to(dtype)
            out = F.layer_norm(x.to(dtype), x.shape[-1:], *params, eps)
            grads = torch.autograd.grad(out, wanted, grad, create_graph=True)
            grads = dict(zip(map(id, wanted), grads))
            return *(grads.get(id(t)) for t in (x, weight, bias)), *[None] * 3
        dx, parts = norm_alone_backward(grad.contiguous(), x, weight, eps)
        dparams = _cast_like(parts.sum((1, 2)), (weight, bias))
        return dx, *dparams, None, None, None


def run_fused(block: nn.Module, x: Tensor, freq_embed: Tensor) -> Tensor:
    """Run the block.

    Args:
        block (nn.Module): One that :func:`can_fuse`.
        x (Tensor): Shape (B, H, W, C).
        freq_embed (Tensor): FVE of the size of the features, (H, W, C).

    Returns:
        Tensor: Shape (B, H, W, C).
    """
    to_k, dtype = block.op.to_k[0], get_compute_dtype(x)
    k = F.linear(freq_embed, to_k.weight, to_k.bias)
    layers = _list_layers(block)
    params = [p for layer in layers for p in (layer.weight, layer.bias)]
    if block.gamma1 is not None:  # scales the norm behind a branch
        for gamma, i in ((block.gamma1, 0), (block.gamma2, 10)):
            params[i : i + 2] = gamma * params[i], gamma * params[i + 1]
    scales = [block.scale(x, None) for _ in range(2)]
    scales = [scale if scale is None else scale.flatten() for scale in scales]
    eps = [layers[i].eps for i in (0, 3, 5)]  # of the norms
    settings = block.post_norm, dtype, eps
    args = x.contiguous(), k.contiguous(), *scales, settings, *params
    # Everything has its dtype by now.
    with torch.autocast(**autocast_state(x, enabled=False)):
        if torch.is_grad_enabled():
            return _Block.apply(*args)
        return _run(*args, keep=False)[0]


def _run(
    x: Tensor,
    k: Tensor,
    scale1: Tensor | None,
    scale2: Tensor | None,
    settings: tuple[bool, torch.dtype, list[float]],
    *params: Tensor,
    keep: bool,
) -> tuple[Tensor, ...]:
    """Run a block; returns its output and what the backward pass needs."""
    from .kernels import means, mlp, norm
    from .kernels.norm_sum import norm_sum
    from .kernels.post_norm import norm_add

    post_norm, dtype, (eps1, eps, eps2) = settings
    norm1, norm2, fc1, fc2, *op = _pair(params, dtype)
    if post_norm:
        x1 = x.to(dtype)
        total = means.sum_cells(x1)
        branch, *kept = _conduct(x1, total, k, eps, *op, keep=keep)
        low = dtype != x.dtype
        x1, below = norm_add(branch, x, scale1, *norm1, eps1, low)
        below = below if low else x1
        kept.append(branch)
    else:
        x1, total = norm_sum(x, *norm1, eps1, dtype)
        *op, (weight, bias) = op
        op.append((weight, None))  # the bias is added with the branch
        branch, *kept = _conduct(x1, total, k, eps, *op, keep=keep)
        # A product that adds to its place leaves no room for a bias.
        in_place = not keep and dtype == x.dtype
        shift = fc2[1] if in_place else None
        x1, below = norm.add_norm(
            x, branch, bias, scale1, shift, *norm2, eps2, dtype
        )
        kept.append(x1)
    del branch
    if keep or dtype == torch.float32:
        # A product with a bias takes up to twice as long as one without.
        hidden = F.linear(below, fc1[0])
        active = mlp.bias_gelu(hidden, fc1[1])
        kept.append(hidden)
    else:
        active = mlp.linear_gelu(below, *fc1)
    if post_norm:
        branch = F.linear(active, *fc2)
        out, _ = norm_add(branch, x1, scale2, *norm2, eps2, False)
        return out, *kept, branch
    if in_place:
        x1.flatten(0, 2).addmm_(active.flatten(0, 2), fc2[0].t())
        return (x1,)
    branch = F.linear(active, *fc2)
    if scale2 is None:
        return x1 + branch, *kept
    return torch.addcmul(x1, branch, scale2.view(-1, 1, 1, 1)), *kept


def _conduct(
    x: Tensor,
    total: Tensor,
    k: Tensor,
    eps: float,
    conv: Pair,
    linear: Pair,
    out_norm: Pair,
    out_linear: Pair,
    keep: bool,
) -> tuple[Tensor, ...]:
    """Run the operator; returns its output and what it keeps.

    ``total`` are sums of x, (B, parts, C). Behind the convolution images are
    without their mean, and u and z without what it adds to them, until the
    gated norm adds it again: a mean is conducted to itself.
    """
    from .kernels import convolution, decay, gate, means

    cells = x.shape[1] * x.shape[2]
    mean, both = means.propagate_means(total, cells, *conv, *linear)
    x = convolution.convolve(x, *conv, mean)
    if keep:
        # One product would keep the memory of u as long as z.
        u, z = (F.linear(x, half) for half in linear[0].chunk(2))
    else:
        u, z = F.linear(x, linear[0]).chunk(2, dim=-1)
    rows, columns = get_bases(u)
    spectrum = transform_2d(u, rows, columns)
    del u
    decayed = decay.decay(spectrum, k)
    rest = transform_2d(decayed, rows.t(), columns.t())
    del decayed
    branch = gate.gated_norm(rest, both, z, *out_norm, eps)
    branch = F.linear(branch, *out_linear)
    return branch, x, spectrum, rest, z, mean, both


class _Block(torch.autograd.Function):
    """Runs a block in training."""

    @staticmethod
    def forward(ctx, x, k, scale1, scale2, settings, *params) -> Tensor:
        args = x, k, scale1, scale2
        out, *kept = _run(*args, settings, *params, keep=True)
        ctx.settings = settings
        ctx.save_for_backward(*args, *params, *kept)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # with_cp lets it be asked for once
        args, params = saved[:4], saved[4:20]
        if torch.is_grad_enabled():  # to be differentiated once more
            out = _run_plain(*args, ctx.settings, *params)
            wanted = [t for t in args[:2] + params if t.requires_grad]
            grads = torch.autograd.grad(
                out, wanted, grad, create_graph=True, allow_unused=True
            )
            grads = dict(zip(map(id, wanted), grads))
            dx, dk, *dparams = (grads.get(id(t)) for t in args[:2] + params)
        else:
            dx, dk, dparams = _differentiate(
                grad.contiguous(), *args, ctx.settings, params,
                *saved[20:],
            )  # fmt: skip
            dparams = _cast_like(dparams, params)
        return dx, dk, None, None, None, *dparams


def _differentiate(
    grad: Tensor,
    x: Tensor,
    k: Tensor,
    scale1: Tensor | None,
    scale2: Tensor | None,
    settings: tuple[bool, torch.dtype, list[float]],
    params: tuple[Tensor, ...],
    conv_out: Tensor,
    spectrum: Tensor,
    rest: Tensor,
    z: Tensor,
    mean: Tensor,
    both: Tensor,
    middle: Tensor,
    hidden: Tensor,
    branch2: Tensor | None = None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Compute the gradients of x, k and the parameters.

    ``middle`` is the sum between the branches, and where norms stand behind
    them the first branch.
    """
    from .kernels import (
        convolution,
        convolve_backward,
        mlp,
        norm_backward,
        norm_backward_sum,
    )
    from .kernels.post_norm import norm_add, norm_add_backward

    post_norm, dtype, (eps1, eps, eps2) = settings
    norm1, norm2, fc1, fc2, conv, *op = _pair(params, dtype)
    if post_norm:
        below, parts2 = norm_add_backward(
            grad, branch2, scale2, norm2[0], eps2
        )
        *dnorm2, dfc2_bias = parts2.sum((1, 2))
    else:
        below = grad.to(dtype)
    dhidden, active, parts = mlp.gelu_backward(
        below @ fc2[0], None if post_norm else scale2, hidden, fc1[1]
    )
    dfc2 = _outer(below, active)
    del active
    below = dhidden @ fc1[0]
    if post_norm:
        x1, active = norm_add(
            middle, x, scale1, *norm1, eps1, dtype != x.dtype
        )
        active = active if len(active) else x1
        dx1 = grad + below
    else:
        dx1, low, active, parts2 = norm_backward_sum(
            below, middle, grad, *norm2, eps2, scale1, scale2
        )
        *dnorm2, dout_bias, dfc2_bias = parts2.sum((1, 2))
    dfc1 = _outer(dhidden, active), parts.sum((0, 1, 2))
    del dhidden, active

    if post_norm:
        below, parts1 = norm_add_backward(dx1, middle, scale1, norm1[0], eps1)
        *dnorm1, dout_bias = parts1.sum((1, 2))
    else:
        below = low if len(low) else dx1
    dconv, dk, *dop, dout_weight = _conduct_backward(
        below, None if post_norm else scale1, k, eps, *op, conv_out, spectrum,
        rest, z, mean, both,
    )  # fmt: skip
    below = convolution.convolve_back(dconv, conv[0])
    if post_norm:
        dx, active = dx1 + below, x.to(dtype)
    else:
        dx, active, parts1 = norm_backward(below, x, dx1, *norm1, eps1)
        dnorm1 = parts1.sum((1, 2))
    dweight = convolve_backward(dconv, active).sum(0)
    dconv = dweight[:, :9], dweight[:, 9]
    dparams = [
        *dnorm1, *dconv, *dop, dout_weight, dout_bias, *dnorm2, *dfc1, dfc2,
        dfc2_bias,
    ]  # fmt: skip
    return dx, dk, dparams


def _conduct_backward(
    grad: Tensor,
    scale: Tensor | None,
    k: Tensor,
    eps: float,
    linear: Pair,
    out_norm: Pair,
    out_linear: Pair,
    conv_out: Tensor,
    spectrum: Tensor,
    rest: Tensor,
    z: Tensor,
    mean: Tensor,
    both: Tensor,
) -> tuple[Tensor, ...]:
    """Compute the gradients of what was convolved, k and the parameters.

    The bias of the last layer is left out.
    """
    from .kernels import decay, gated_norm_backward

    drest, duz, active, parts = gated_norm_backward(
        grad @ out_linear[0], scale, rest, both, z, *out_norm, eps
    )
    dout_weight = _outer(grad, active)
    rows, columns = get_bases(rest)
    dspectrum, dk = decay.decay_backward(
        transform_2d(drest, rows, columns), spectrum, k
    )
    del drest, active
    _invert(dspectrum, rows, columns, out=duz[..., : z.shape[-1]])
    *dout_norm, dz_sum = parts.sum(2)
    # The lowest frequency is the sum of all cells, but for a factor.
    factor = math.sqrt(dspectrum.shape[1] * dspectrum.shape[2])
    sums = torch.cat([factor * dspectrum[:, 0, 0].float(), dz_sum], 1)
    # What was convolved is kept without its mean.
    dweight = _outer(duz, conv_out).float().addmm_(sums.t(), mean)
    dout_norm = [g.sum(0) for g in dout_norm]
    return duz @ linear[0], dk, dweight, sums.sum(0), *dout_norm, dout_weight


def _invert(
    spectrum: Tensor, rows: Tensor, columns: Tensor, out: Tensor
) -> None:
    """Write the inverse transform to some channels of a larger tensor."""
    size = spectrum.shape[0] * rows.shape[1], *spectrum.shape[2:]
    x = torch.matmul(rows.t(), spectrum.flatten(2)).view(size)
    matrices = columns.t().expand(size[0], -1, -1)
    torch.bmm(matrices, x, out=out.flatten(0, 1))


def _run_plain(
    x: Tensor,
    k: Tensor,
    scale1: Tensor | None,
    scale2: Tensor | None,
    settings: tuple[bool, torch.dtype, list[float]],
    *params: Tensor,
) -> Tensor:
    """Run a block by torch's operators, which know all their gradients."""
    post_norm, dtype, (eps1, eps, eps2) = settings
    norm1, norm2, fc1, fc2, conv, linear, out_norm, out_linear = _pair(
        params, dtype, cast=Tensor.to
    )

    def normalize(x: Tensor, layer: Pair, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *layer, eps)

    def conduct(x: Tensor) -> Tensor:
        x = x.to(dtype).permute(0, 3, 1, 2)
        weight, bias = (p.to(dtype) for p in conv)
        x = F.conv2d(x, weight, bias, padding=1, groups=len(weight))
        u, z = F.linear(x.permute(0, 2, 3, 1), *linear).chunk(2, dim=-1)
        mean = u.detach().mean((1, 2), keepdim=True)
        rows, columns = get_bases(u)
        spectrum = transform_2d(u - mean, rows, columns)
        spectrum = spectrum * heat_decay(k.relu()).to(dtype)
        u = mean + transform_2d(spectrum, rows.t(), columns.t())
        u = normalize(u, out_norm, eps).to(dtype)
        return F.linear(u * F.silu(z), *out_linear)

    def run_mlp(x: Tensor) -> Tensor:
        return F.linear(F.gelu(F.linear(x.to(dtype), *fc1)), *fc2)

    def add(x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
        return x + (
            branch if scale is None else branch * scale.view(-1, 1, 1, 1)
        )

    if post_norm:
        x = add(x, normalize(conduct(x), norm1, eps1), scale1)
        return add(x, normalize(run_mlp(x), norm2, eps2), scale2)
    x = add(x, conduct(normalize(x, norm1, eps1)), scale1)
    return add(x, run_mlp(normalize(x, norm2, eps2)), scale2)


def _cast(tensors: list[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
    """Cast tensors in one kernel, into one piece of memory."""
    if all(t.dtype == dtype for t in tensors):
        return tensors
    # Each starts at 16 bytes, as kernels like it.
    sizes = [t.numel() + -t.numel() % 8 for t in tensors]
    room = torch.empty(sum(sizes), dtype=dtype, device=tensors[0].device)
    copies = [
        piece[: t.numel()].view(t.shape)
        for piece, t in zip(room.split(sizes), tensors)
    ]
    torch._foreach_copy_(copies, tensors)
    return copies


def _pair(
    params: tuple[Tensor, ...], dtype: torch.dtype, cast=None
) -> list[Pair]:
    """Pair weights and biases, those of products in the compute dtype.

    Returns those of the two norms, the MLP, and the operator's in order.
    """
    norm1, conv, out_norm, norm2 = (params[i : i + 2] for i in (0, 2, 6, 10))
    tensors = [*params[4:6], *params[8:10], *params[12:]]  # of products
    if cast is None:
        tensors = _cast(tensors, dtype)
    else:
        tensors = [cast(t, dtype) for t in tensors]
    linear, out_linear, fc1, fc2 = (
        (w.flatten(1), bias) for w, bias in zip(tensors[::2], tensors[1::2])
    )
    return [norm1, norm2, fc1, fc2, conv, linear, out_norm, out_linear]


def _outer(grad: Tensor, x: Tensor) -> Tensor:
    """Compute the gradient (N, K) of a weight from (..., N) and (..., K)."""
    return grad.flatten(0, -2).t() @ x.flatten(0, -2)


def _cast_like(
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
    grad, strides = grad.view_as(parameter), parameter.stride()
    if grad.stride() == strides:
        return grad
    sizes = zip(parameter.shape, grad.stride(), strides)
    if all(size == 1 or own == other for size, own, other in sizes):
        return grad.as_strided(parameter.shape, strides)
    return torch.empty_like(parameter).copy_(grad)


def _has_kernels(
    device: torch.device, dtype: torch.dtype, channels: int
) -> bool:
    """Tell whether kernels pay on a device, and compile."""
    if not is_on_trial():
        if device.type not in ('cuda', 'meta'):
            return False
        if device.type == 'cuda' and not _is_measured(device):
            return False
    return _compile(device, dtype, channels)


@functools.cache
def _is_measured(device: torch.device) -> bool:
    """Tell whether a device is a card of NVIDIA that knows bfloat16."""
    return bool(
        torch.version.cuda
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


@functools.cache
def _compile(device: torch.device, dtype: torch.dtype, channels: int) -> bool:
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
