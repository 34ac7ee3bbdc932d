"""Faster versions of the modules' forwards, or None where there is none."""

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
    if _learns(op, x, freq_embed) and x.device.type == 'cpu':
        return None
    x = op.dwconv(x)
    weight, bias = op.linear.weight, op.linear.bias
    linear, by_onednn = F.linear, onednn.has_onednn(x)
    if by_onednn:
        linear = onednn.linear
        halves = (None, None) if bias is None else bias.chunk(2)
        pairs = zip(weight.chunk(2), halves, ('none', 'swish'))
        u, gate = (linear(x, *pair) for pair in pairs)
    else:
        u, z = linear(x, weight, bias).chunk(2, dim=-1)
        gate = F.silu(z)
    decay = op.propagator.respond(u, op.get_k(u, freq_embed))
    rows, columns = get_bases(u)
    if by_onednn and u.dtype == torch.float32 and u.shape[1] > 16:
        u = onednn.conduct(u, decay, rows, columns)
    else:
        mean, rest = split_mean(u)
        rest = transform(rest, rows, columns) * decay[None].to(rest.dtype)
        u = mean + transform(rest, rows.t(), columns.t())
    x = op.out_norm(u) * gate
    return linear(x, op.out_linear.weight, op.out_linear.bias)


def _run_mlp(mlp: nn.Module, x: Tensor) -> Tensor | None:
    if x.dim() != 4 or not onednn.has_onednn(x) or _learns(mlp, x):
        return None
    for conv, activation in ((mlp.fc1, 'gelu'), (mlp.fc2, 'none')):
        linear = getattr(conv, 'stride', 0) == (1, 1) and not any(conv.padding)
        if not linear or conv.weight.shape[1:] != (x.shape[-1], 1, 1):
            return None
        x = onednn.linear(x, conv.weight.flatten(1), conv.bias, activation)
    return x


def _learns(module: nn.Module, *inputs: Tensor) -> bool:
    return torch.is_grad_enabled() and any(
        t.requires_grad for t in (*inputs, *module.parameters())
    )


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
    kinds = map(type, op.to_k.modules())
    return keep(
        op,
        (freq_embed.shape, *kinds, get_compute_dtype(freq_embed)),
        (freq_embed, *op.to_k.parameters()),
        lambda: op.to_k(freq_embed),
    )


def _keep_response(law: nn.Module, x: Tensor, k: Tensor) -> Tensor | None:
    settings = {k: v for k, v in vars(law).items() if k[0] != '_'}
    # What other laws depend on is not known here.
    if (
        not type(law).__module__.startswith('mmvheat.nn.')
        or law.uses_input
        or not all(isinstance(v, (int, float)) for v in settings.values())
        or k.dim() == x.dim()
    ):
        return None

    def compute() -> Tensor:
        sizes = x.shape[1:-1]
        s = squared_frequencies(sizes, dtype=x.dtype, device=x.device)
        return law.response(s, k, x)

    return keep(
        law,
        (x.shape[1:-1], x.dtype, type(law).response, *settings.values()),
        (k, *law.parameters()),
        compute,
    )


# Method: faster version, layers whose parameters it uses, code of its source.
FASTER: dict[str, tuple[Callable[..., Tensor | None], str, str]] = {
    'HeatBlock.forward': (run_block, 'norm1 op norm2 mlp', 'b47bebd8'),
    'HeatConduction.forward': (
        _conduct,
        'dwconv linear to_k propagator out_norm out_linear',
        '8848b5ab',
    ),
    'HeatConduction.get_k': (_keep_k, 'to_k', 'da0818e7'),
    'Mlp.forward': (_run_mlp, 'fc1 fc2', 'a6b1fd10'),
    'Propagator.respond': (_keep_response, '', '59edc4fd'),
    'LayerNorm.forward': (run_norm, '', 'e0b41f92'),
    'Stem.forward': (run_stem, 'conv1 norm1 conv2', '7e0d18d7'),
    'vHeat.normalize_output': (normalize_output, '', '80dbb913'),
    'HeatStage.resize_freq_embed': (_resize_freq_embed, '', 'fdd3a8c5'),
}
BY_KERNELS = ('HeatBlock.forward', 'LayerNorm.forward', 'Stem.forward')
BY_KERNELS += ('vHeat.normalize_output',)
