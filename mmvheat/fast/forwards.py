"""Faster versions of the modules' forwards; the plain ones say what they do.

In training they keep less for the backward pass, at evaluation they compute
less again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvheat.ops import (
    get_compute_dtype,
    heat_decay,
    resize_freq_embed,
    split_mean,
    squared_frequencies,
    transform_2d,
)

from . import onednn
from .gpu.block import can_fuse, run_fused
from .gpu.norm import can_fuse_norm, fused_norm
from .kept import get_bases, get_bicubic_weights, keep
from .lean import is_lean, run_lean
from .seam import is_plain


def _run_block(block: nn.Module, x: Tensor, freq_embed: Tensor) -> Tensor:
    if can_fuse(block, x):
        return run_fused(block, x, freq_embed)
    if not block.post_norm:
        branch = _conduct(block.op, x, freq_embed, block.norm1)
        x = block.add(x, branch, block.gamma1)
        return block.add(x, _run_mlp(block.mlp, x, block.norm2), block.gamma2)

    scale1 = block.scale(x, block.gamma1)

    def add(x: Tensor, branch: Tensor) -> Tensor:
        return x + _scale_norm(block.norm1, scale1, branch)

    def run_fc1(x: Tensor) -> tuple[Tensor, Tensor]:
        return block.mlp.fc1(x), x

    branch = _conduct(block.op, x, freq_embed)
    # The sum costs less to compute again than to keep.
    hidden, x = run_lean(add, x, branch, layer=run_fc1)
    branch = run_lean(F.gelu, hidden, layer=block.mlp.fc2)
    scale2 = block.scale(x, block.gamma2)
    return x + run_lean(partial(_scale_norm, block.norm2, scale2), branch)


def _scale_norm(
    norm: nn.Module, scale: Tensor | None, branch: Tensor
) -> Tensor:
    branch = norm(branch)
    return branch if scale is None else branch * scale


def _conduct(
    op: nn.Module,
    x: Tensor,
    freq_embed: Tensor,
    norm: nn.Module | None = None,
) -> Tensor:
    needs_grad = torch.is_grad_enabled() and any(
        t.requires_grad for t in (x, freq_embed, *op.parameters())
    )
    x = op.dwconv(x) if norm is None else run_lean(norm, x, layer=op.dwconv)
    linear, transform = F.linear, transform_2d
    if not needs_grad and onednn.has_onednn(x):
        linear, transform = onednn.linear, onednn.transform_2d

    weight, bias = op.linear.weight, op.linear.bias
    u, z = linear(x, weight, bias).chunk(2, dim=-1)
    if is_lean(x):
        z = z.contiguous()  # else u would be kept as long as z
    mean, rest = split_mean(u)
    rows, columns = get_bases(rest)
    spectrum = transform(rest, rows, columns)
    if needs_grad:
        spectrum = run_lean(_filter, spectrum, op.to_k(freq_embed))
    else:
        spectrum = spectrum * keep(
            op,
            (freq_embed.shape, rest.dtype),
            (freq_embed, *op.to_k.parameters()),
            lambda: heat_decay(op.to_k(freq_embed)).to(rest.dtype)[None],
        )
    rest = transform(spectrum, rows.t(), columns.t())

    def gate(rest: Tensor, z: Tensor) -> Tensor:
        return op.out_norm(mean + rest) * F.silu(z)

    weight, bias = op.out_linear.weight, op.out_linear.bias
    return run_lean(gate, rest, z, layer=lambda x: linear(x, weight, bias))


def _run_mlp(
    mlp: nn.Module, x: Tensor, norm: nn.Module | None = None
) -> Tensor:
    x = mlp.fc1(x) if norm is None else run_lean(norm, x, layer=mlp.fc1)
    return run_lean(F.gelu, x, layer=mlp.fc2)


def _run_stem(stem: nn.Module, x: Tensor) -> Tensor:
    hidden = stem.conv1(x)

    def activate(x: Tensor) -> Tensor:
        if can_fuse_norm(x):
            return fused_norm(stem.norm1[0], x, gelu=True)
        return F.gelu(stem.norm1(x))

    x = run_lean(activate, hidden, layer=stem.conv2, everywhere=True)
    return stem.norm2(x)


def _resize_freq_embed(
    stage: nn.Module, freq_embed: Tensor, x: Tensor
) -> Tensor:
    size = x.shape[1:3]
    if freq_embed.shape[:2] != size:
        freq_embed = keep(
            stage,
            size,
            (freq_embed,),
            lambda: resize_freq_embed(
                freq_embed, size, 'bicubic', get_bicubic_weights
            ),
        )
    # Else every block would make, or keep, a copy of its own.
    once = is_lean(x) or x.device.type != 'cpu'
    return freq_embed.to(get_compute_dtype(x)) if once else freq_embed


def _normalize_output(model: nn.Module, x: Tensor, norm: nn.Module) -> Tensor:
    if is_plain(norm) and can_fuse_norm(x):
        return fused_norm(norm, x, channels_first=True)
    return norm(x).permute(0, 3, 1, 2).contiguous()


def _run_norm(norm: nn.Module, x: Tensor) -> Tensor:
    if is_plain(norm) and can_fuse_norm(x):
        return fused_norm(norm, x)
    return type(norm).forward.__wrapped__(norm, x)


def _keep_k(op: nn.Module, u: Tensor, freq_embed: Tensor) -> Tensor:
    return keep(
        op,
        ('k', freq_embed.shape, get_compute_dtype(freq_embed)),
        (freq_embed, *op.to_k.parameters()),
        lambda: op.to_k(freq_embed),
    )


def _keep_response(law: nn.Module, x: Tensor, k: Tensor) -> Tensor:
    def compute() -> Tensor:
        s = squared_frequencies(x.shape[1:-1], dtype=x.dtype, device=x.device)
        return law.response(s, k, x)

    # What other laws depend on is not known here.
    if (
        not type(law).__module__.startswith('mmvheat.nn.')
        or law.uses_input
        or k.dim() == x.dim()
    ):
        return compute()
    settings = [v for v in vars(law).values() if isinstance(v, (int, float))]
    return keep(
        law,
        (x.shape[1:-1], x.dtype, *settings),
        (k, *law.parameters()),
        compute,
    )


# Method: faster version, the layers whose parameters it uses, and the code of
# what it restates.
FASTER: dict[str, tuple[Callable[..., Tensor], tuple[str, ...], str]] = {
    'HeatBlock.forward': (
        _run_block,
        ('norm1', 'op', 'norm2', 'mlp'),
        '6a121679',
    ),
    'HeatConduction.forward': (
        _conduct,
        ('dwconv', 'linear', 'to_k', 'propagator', 'out_norm', 'out_linear'),
        '16332206',
    ),
    'HeatConduction.get_k': (_keep_k, ('to_k',), '9e98bd36'),
    'Propagator.respond': (_keep_response, (), 'ed89bde3'),
    'LayerNorm.forward': (_run_norm, (), '3afad897'),
    'Mlp.forward': (_run_mlp, ('fc1', 'fc2'), 'bd423475'),
    'Stem.forward': (_run_stem, ('conv1', 'norm1', 'conv2'), '1788499a'),
    'vHeat.normalize_output': (_normalize_output, (), '235044a2'),
    'HeatStage.resize_freq_embed': (_resize_freq_embed, (), '5f204d1a'),
}


def _filter(spectrum: Tensor, k: Tensor) -> Tensor:
    return spectrum * heat_decay(k).to(spectrum.dtype)[None]
