"""A block by fused kernels, on a GPU.

Each passes over the features once where torch's operators pass several times:
norm and sum, gated norm, decay, depthwise convolution, GELU. In training a
block keeps ten values a channel (eleven, where norms stand behind branches)
and computes the rest again on the way back, never a product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvheat.ops import get_compute_dtype, no_autocast

from .available import DTYPES, has_kernels, has_kernels_on_trial
from .bases import get_bases
from .block_backward import Settings, differentiate, run_plain
from .params import Pair, cast, cast_like, pair
from .products import invert, transform


def run_block(
    block: nn.Module, x: Tensor, freq_embed: Tensor
) -> Tensor | None:
    """Run a block, if there are kernels for it."""
    return run_fused(block, x, freq_embed) if can_fuse(block, x) else None


def can_fuse(block: nn.Module, x: Tensor) -> bool:
    """Tell whether there are kernels for a block, of layers that are plain."""
    conv = block.op.dwconv
    channels = len(conv.weight)  # not x's: torch.compile may not know that
    return (
        (block.post_norm or block.gamma1 is None)
        and conv.weight.shape == (x.shape[-1], 1, 3, 3)
        and conv.stride == conv.padding == conv.dilation == (1, 1)
        and conv.padding_mode == 'zeros'
        and all(
            isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
            for layer in (block.mlp.fc1, block.mlp.fc2)
        )
        and isinstance(block.op.to_k, nn.Sequential)
        and [type(layer) for layer in block.op.to_k] == [nn.Linear, nn.ReLU]
        and all(
            layer.bias is not None
            for layer in (block.op.to_k[0], *_list_layers(block))
        )
        and x.dtype in DTYPES
        # Addresses inside of an image have 32 bits.
        and x[:1].numel() * block.mlp.fc1.out_channels < 2**31 * channels
        and has_kernels(x.device, get_compute_dtype(x), channels)
    )


def _list_layers(block: nn.Module) -> tuple[nn.Module, ...]:
    """List the layers of a block in the order of the computation."""
    op, mlp = block.op, block.mlp
    return (
        block.norm1, op.dwconv, op.linear, op.out_norm, op.out_linear,
        block.norm2, mlp.fc1, mlp.fc2,
    )  # fmt: skip


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
    to_k = [to_k.weight, to_k.bias]
    if not torch.is_grad_enabled():  # else by an operator with a gradient
        to_k = cast(to_k, dtype)
    k = F.linear(freq_embed, *to_k)
    layers = _list_layers(block)
    params = [p for layer in layers for p in (layer.weight, layer.bias)]
    if block.gamma1 is not None:  # scales the norm behind a branch
        for gamma, i in ((block.gamma1, 0), (block.gamma2, 10)):
            params[i : i + 2] = gamma * params[i], gamma * params[i + 1]
    scales = [block.scale(x, None) for _ in range(2)]
    scales = [scale if scale is None else scale.flatten() for scale in scales]
    eps = [layers[i].eps for i in (0, 3, 5)]  # of the norms
    whole = not block.post_norm and has_kernels_on_trial(
        x.device, dtype, len(block.op.dwconv.weight)
    )
    settings = block.post_norm, dtype, eps, whole
    bases = get_bases(x, dtype)
    args = x.contiguous(), k.contiguous(), *scales, *bases, settings
    # Everything has its dtype by now.
    with no_autocast(x):
        if torch.is_grad_enabled():
            return _Block.apply(*args, *params)
        return _run(*args, pair(params, dtype), keep=False)[0]


def _run(
    x: Tensor,
    k: Tensor,
    scale1: Tensor | None,
    scale2: Tensor | None,
    rows: Tensor,
    columns: Tensor,
    settings: Settings,
    pairs: list[Pair],
    keep: bool,
) -> tuple[Tensor, ...]:
    """Run a block; returns its output and what the backward pass needs."""
    from .kernels import means, mlp, norm, run_mlp_branch
    from .kernels.norm_sum import norm_sum
    from .kernels.post_norm import norm_add

    post_norm, dtype, (eps1, eps, eps2), whole = settings
    norm1, norm2, fc1, fc2, *op = pairs
    bases = rows, columns
    if post_norm:
        x1 = x.to(dtype)
        total = means.sum_cells(x1)
        branch, *kept = _conduct(x1, total, k, *bases, eps, *op, keep=keep)
        low = dtype != x.dtype
        x1, below = norm_add(branch, x, scale1, *norm1, eps1, low)
        below = below if low else x1
        kept.append(branch)
    else:
        x1, total = norm_sum(x, *norm1, eps1, dtype)
        *op, (weight, bias) = op
        op.append((weight, None))  # the bias is added with the branch
        branch, *kept = _conduct(x1, total, k, *bases, eps, *op, keep=keep)
        if whole:
            out, *more = run_mlp_branch(
                x, branch, bias, scale1, *norm2, eps2, *fc1, *fc2, scale2, keep
            )
            return out, *kept, *more
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
    rows: Tensor,
    columns: Tensor,
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
    spectrum = transform(u, rows, columns)
    del u
    decayed = decay.decay(spectrum, k)
    rest = invert(decayed, rows, columns)
    del decayed
    branch = gate.gated_norm(rest, both, z, *out_norm, eps)
    branch = F.linear(branch, *out_linear)
    return branch, x, spectrum, rest, z, mean, both


class _Block(torch.autograd.Function):
    """Runs a block in training."""

    @staticmethod
    def forward(
        ctx, x, k, scale1, scale2, rows, columns, settings, *params
    ) -> Tensor:
        args = x, k, scale1, scale2, rows, columns
        pairs = pair(params, settings[1])
        out, *kept = _run(*args, settings, pairs, keep=True)
        ctx.settings = settings
        ctx.save_for_backward(*args, *params, *sum(pairs, ()), *kept)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # with_cp lets it be asked for once
        args, params, cast = saved[:6], saved[6:22], saved[22:38]
        if torch.is_grad_enabled():  # to be differentiated once more
            out = run_plain(*args, ctx.settings, *params)
            wanted = [t for t in args[:2] + params if t.requires_grad]
            grads = torch.autograd.grad(
                out, wanted, grad, create_graph=True, allow_unused=True
            )
            grads = dict(zip(map(id, wanted), grads))
            dx, dk, *dparams = (grads.get(id(t)) for t in args[:2] + params)
        else:
            dx, dk, dparams = differentiate(
                grad.contiguous(), *args, ctx.settings,
                list(zip(cast[::2], cast[1::2])), *saved[38:],
            )  # fmt: skip
            dparams = cast_like(dparams, params)
        return dx, dk, None, None, None, None, None, *dparams
