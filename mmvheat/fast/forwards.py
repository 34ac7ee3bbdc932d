"""Faster versions of the modules' forwards; the plain ones say what they do.

A version returns None where it has nothing faster: the plain forward runs
then.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvheat.ops import (
    get_compute_dtype,
    resize_freq_embed,
    split_mean,
    squared_frequencies,
    transform,
)

from . import onednn
from .gpu.bases import get_bases, get_bicubic_weights
from .gpu.block import run_block
from .gpu.norm import normalize_output, run_norm, run_stem
from .kept import keep


def _conduct(op: nn.Module, x: Tensor, freq_embed: Tensor) -> Tensor | None:
    learns = torch.is_grad_enabled() and any(
        t.requires_grad for t in (x, freq_embed, *op.parameters())
    )
    if learns and x.device.type == 'cpu':
        return None
    x = op.dwconv(x)
    linear, multiply = F.linear, transform
    if onednn.has_onednn(x):
        linear, multiply = onednn.linear, onednn.transform
    u, z = linear(x, op.linear.weight, op.linear.bias).chunk(2, dim=-1)
    mean, rest = split_mean(u)
    decay = op.propagator.respond(u, op.get_k(u, freq_embed))[None]
    rows, columns = get_bases(rest)
    rest = multiply(rest, rows, columns) * decay.to(rest.dtype)
    u = mean + multiply(rest, rows.t(), columns.t())
    x = op.out_norm(u) * F.silu(z)
    return linear(x, op.out_linear.weight, op.out_linear.bias)


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


def _keep_k(op: nn.Module, u: Tensor, freq_embed: Tensor) -> Tensor:
    return keep(
        op,
        ('k', freq_embed.shape, get_compute_dtype(freq_embed)),
        (freq_embed, *op.to_k.parameters()),
        lambda: op.to_k(freq_embed),
    )


def _keep_response(law: nn.Module, x: Tensor, k: Tensor) -> Tensor | None:
    # What other laws depend on is not known here.
    if (
        not type(law).__module__.startswith('mmvheat.nn.')
        or law.uses_input
        or k.dim() == x.dim()
    ):
        return None

    def compute() -> Tensor:
        sizes = x.shape[1:-1]
        s = squared_frequencies(sizes, dtype=x.dtype, device=x.device)
        return law.response(s, k, x)

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
        run_block,
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
    'LayerNorm.forward': (run_norm, (), '3afad897'),
    'Stem.forward': (run_stem, ('conv1', 'norm1', 'conv2'), '1788499a'),
    'vHeat.normalize_output': (normalize_output, (), '235044a2'),
    'HeatStage.resize_freq_embed': (_resize_freq_embed, (), '5f204d1a'),
}
