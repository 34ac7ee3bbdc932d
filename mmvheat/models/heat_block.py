"""The heat conduction block, on channels-last features (B, H, W, C)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmvheat.ops import (
    filter_dct,
    filter_fluctuation,
    get_compute_dtype,
    heat_decay,
    is_traced,
    linear,
    map_tokens,
    squared_frequencies,
)

from .layers import ChannelsLastConv2d, has_hooks, is_plain
from .parameter_cache import CastingModule


class HeatBlock(nn.Module):
    """Heat conduction operator and MLP, each with a residual connection.

    Args:
        dims (int): Channels C.
        mlp_ratio (float): Hidden channels of the MLP per channel.
            Defaults to 4.0.
        drop_path (float): Probability to skip a residual branch.
            Defaults to 0.0.
        post_norm (bool): Normalise the output of a branch, not its input.
            Defaults to False.
        layer_scale (float, optional): Initial scale of the branches.
            Defaults to None, no scale.
    """

    def __init__(
        self,
        dims: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        post_norm: bool = False,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.norm1 = nn.LayerNorm(dims)
        self.op = HeatConduction(dims)
        self.norm2 = nn.LayerNorm(dims)
        self.mlp = Mlp(dims, int(dims * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.gamma1 = self.gamma2 = None
        if layer_scale is not None:
            self.gamma1 = nn.Parameter(torch.full((dims,), layer_scale))
            self.gamma2 = nn.Parameter(torch.full((dims,), layer_scale))

    def forward(self, x: Tensor, decay: Tensor) -> Tensor:
        """Transform features (B, H, W, C) under a decay (H, W, C)."""
        if self.post_norm:
            x = self._add(x, self.norm1(self.op(x, decay)), self.gamma1)
            return self._add(x, self.norm2(self.mlp(x)), self.gamma2)
        x = self._add(x, self.op(self.norm1(x), decay), self.gamma1)
        return self._add(x, self.mlp(x, self.norm2), self.gamma2)

    def _add(self, x: Tensor, branch: Tensor, gamma: Tensor | None) -> Tensor:
        if isinstance(self.drop_path, DropPath) and self.training:
            # One factor an image instead of a pass over all features.
            kept = self.drop_path(x.new_ones(len(x), 1, 1, 1))
            gamma = kept if gamma is None else kept * gamma
        if gamma is not None:
            return torch.addcmul(x, branch, gamma)
        if branch.requires_grad or branch.dtype != x.dtype or is_traced(x):
            return x + branch
        if any(map(has_hooks, self.modules())):
            return x + branch  # A hook may have kept the branch.
        return branch.add_(x)


class HeatConduction(CastingModule):
    """Heat conduction operator (HCO).

    A 3x3 depthwise convolution mixes neighbours, a linear layer splits the
    features into a temperature u and a gate z; u conducts heat, is
    normalised, gated by SiLU(z) and projected.

    Args:
        dims (int): Channels C.
    """

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dwconv = ChannelsLastConv2d(dims, dims, 3, 1, 1, groups=dims)
        self.linear = nn.Linear(dims, 2 * dims)
        self.to_k = nn.Sequential(nn.Linear(dims, dims), nn.ReLU())
        self.out_norm = nn.LayerNorm(dims)
        self.out_linear = nn.Linear(dims, dims)

    def compute_decay(self, freq_embed: Tensor) -> Tensor:
        """Predict the decay (H, W, C) from an FVE of the same shape."""
        if not is_plain(*self.to_k.modules()):
            return heat_decay(self.to_k(freq_embed))
        to_k = self.to_k[0]
        dtype = get_compute_dtype(freq_embed)
        decay = map_tokens(
            _decay,
            (freq_embed[None], squared_frequencies(freq_embed)[None]),
            (to_k.weight.to(dtype), to_k.bias.to(dtype)),
        )
        return decay.squeeze(0)

    def forward(self, x: Tensor, decay: Tensor) -> Tensor:
        """Transform features (B, H, W, C) under a decay (H, W, C)."""
        x = self.dwconv(x)
        if not is_plain(self.linear, self.out_norm, self.out_linear):
            u, z = self.linear(x).chunk(2, dim=-1)
            u = self.out_norm(filter_dct(u, decay))
            return self.out_linear(u * F.silu(z))
        weight_u, weight_z, bias_u, bias_z, weight, bias = self._cast(
            x, _get_parameters(self.linear, self.out_linear), _split_linear
        )
        mean, u = filter_fluctuation(linear(x, weight_u, bias_u), decay)
        return map_tokens(
            partial(_gate, eps=self.out_norm.eps),
            (u, x) if mean is None else (u, x, mean),
            (weight_z, bias_z, self.out_norm.weight, self.out_norm.bias),
            weight,
            bias,
        )


def _get_parameters(*layers: nn.Module) -> list[Tensor]:
    """Get weights and biases, which need not be parameters under FSDP."""
    return [p for layer in layers for p in (layer.weight, layer.bias)]


def _split_linear(
    weight: Tensor, bias: Tensor, *rest: Tensor
) -> tuple[Tensor, ...]:
    """Take the layer of u and z apart."""
    return *weight.chunk(2), *bias.chunk(2), *rest


def _gate(u: Tensor, x: Tensor, *args: Tensor, eps: float) -> Tensor:
    """Normalise u and multiply it by SiLU(linear(x)); both (B, n, C)."""
    *mean, weight, bias, norm_weight, norm_bias = args
    if mean:
        u = u.float() + mean[0]
    u = _normalize(u, norm_weight, norm_bias, eps)
    z = linear(x, weight, bias, 'silu')
    return u.to(z.dtype) * z


def _normalize(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Compute the layer norm in the dtype of x (..., C)."""
    weight, bias = weight.to(x.dtype), bias.to(x.dtype)
    return F.layer_norm(x, weight.shape, weight, bias, eps)


def _decay(
    freq_embed: Tensor, frequencies: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    k = linear(freq_embed, weight, bias, 'relu')
    return (-frequencies * k).exp_().to(k.dtype)


class Mlp(CastingModule):
    """Two 1x1 convolutions around an exact GELU.

    Args:
        dims (int): Input and output channels C.
        hidden_dims (int): Channels between.
    """

    def __init__(self, dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dims, hidden_dims, 1)
        self.fc2 = nn.Conv2d(hidden_dims, dims, 1)

    def forward(self, x: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
        """Transform features (B, H, W, C), normalised first if asked to."""
        if not is_plain(self.fc1, self.fc2, *([] if norm is None else [norm])):
            x = x if norm is None else norm(x)
            x = self.fc2(F.gelu(self.fc1(x.permute(0, 3, 1, 2))))
            return x.permute(0, 2, 3, 1)
        weight1, bias1, weight2, bias2 = self._cast(
            x, _get_parameters(self.fc1, self.fc2), _flatten_convolutions
        )
        function, parameters = _activate, (weight1, bias1)
        if norm is not None:
            function = partial(_activate, eps=norm.eps)
            parameters += norm.weight, norm.bias
        return map_tokens(function, (x,), parameters, weight2, bias2)


def _flatten_convolutions(*parameters: Tensor) -> list[Tensor]:
    """Make weights (C_out, C_in, 1, 1) those of linear layers."""
    return [p.flatten(1) if p.dim() > 1 else p for p in parameters]


def _activate(
    x: Tensor, weight: Tensor, bias: Tensor, *norm: Tensor, eps: float = 1e-5
) -> Tensor:
    """Map x (B, n, C) to the hidden features (B, n, hidden) of an MLP."""
    if norm:
        x = _normalize(x, *norm, eps)
    return linear(x, weight, bias, 'gelu')
