"""Faster versions of the modules' forwards; the plain ones say what they do.

On a GPU blocks and norms run by kernels; at evaluation on a CPU products run
by oneDNN and decays are kept. A version returns None where it has nothing
faster: the plain forward runs then.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

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
from .seam import is_plain


def _run_block(
    block: nn.Module, x: Tensor, freq_embed: Tensor
) -> Tensor | None:
    return run_fused(block, x, freq_embed) if can_fuse(block, x) else None


def _conduct(op: nn.Module, x: Tensor, freq_embed: Tensor) -> Tensor | None:
    learns = torch.is_grad_enabled() and any(
        t.requires_grad for t in (x, freq_embed, *op.parameters())
    )
    if learns and x.device.type == 'cpu':
        return None
    x = op.dwconv(x)
    linear, transform = F.linear, transform_2d
    if onednn.has_onednn(x):
        linear, transform = onednn.linear, onednn.transform_2d
    u, z = linear(x, op.linear.weight, op.linear.bias).chunk(2, dim=-1)
    mean, rest = split_mean(u)
    rows, columns = get_bases(rest)
    decay = keep(
        op,
        (freq_embed.shape, rest.dtype),
        (freq_embed, *op.to_k.parameters()),
        lambda: heat_decay(op.to_k(freq_embed)).to(rest.dtype)[None],
    )
    rest = transform(rest, rows, columns) * decay
    u = mean + transform(rest, rows.t(), columns.t())
    x = op.out_norm(u) * F.silu(z)
    return linear(x, op.out_linear.weight, op.out_linear.bias)


def _run_stem(stem: nn.Module, x: Tensor) -> Tensor:
    x = stem.conv1(x)
    fused = can_fuse_norm(x)

    def run(x: Tensor) -> Tensor:
        if fused:
            return stem.conv2(fused_norm(stem.norm1[0], x, gelu=True))
        return stem.conv2(F.gelu(stem.norm1(x)))

    if torch.is_grad_enabled() and (fused or x.device.type != 'cpu'):
        # The largest map of all is computed again, not kept; the convolution
        # is not, since it hands over its input first.
        settings = dict(preserve_rng_state=False, determinism_check='none')
        x = checkpoint(run, x, use_reentrant=False, **settings)
    else:
        x = run(x)
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
    if x.device.type == 'cpu':
        return freq_embed
    # Else every block would make a copy of its own.
    return freq_embed.to(get_compute_dtype(x))


def _normalize_output(
    model: nn.Module, x: Tensor, norm: nn.Module
) -> Tensor | None:
    if is_plain(norm) and can_fuse_norm(x):
        return fused_norm(norm, x, channels_first=True)
    return None


def _run_norm(norm: nn.Module, x: Tensor) -> Tensor | None:
    if is_plain(norm) and can_fuse_norm(x):
        return fused_norm(norm, x)
    return None


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
FASTER: dict[
    str, tuple[Callable[..., Tensor | None], tuple[str, ...], str]
] = {
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
    'Stem.forward': (_run_stem, ('conv1', 'norm1', 'conv2'), '1788499a'),
    'vHeat.normalize_output': (_normalize_output, (), '235044a2'),
    'HeatStage.resize_freq_embed': (_resize_freq_embed, (), '5f204d1a'),
}
