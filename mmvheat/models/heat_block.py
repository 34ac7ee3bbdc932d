"""The heat conduction block, on channels-last features (B, H, W, C)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmvheat.ops import (
    filter_fluctuation,
    get_compute_dtype,
    linear,
    map_tokens,
    squared_frequencies,
)

from .layers import ChannelsLastConv2d


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
        return self._add(x, self.mlp(self.norm2(x)), self.gamma2)

    def _add(self, x: Tensor, branch: Tensor, gamma: Tensor | None) -> Tensor:
        if isinstance(self.drop_path, DropPath) and self.training:
            # One factor an image instead of a pass over all features.
            kept = self.drop_path(x.new_ones(len(x), 1, 1, 1))
            gamma = kept if gamma is None else kept * gamma
        if gamma is not None:
            return torch.addcmul(x, branch, gamma)
        if branch.requires_grad or branch.dtype != x.dtype:
            return x + branch
        return branch.add_(x)  # Nobody else has the branch.


class HeatConduction(nn.Module):
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
        to_k = self.to_k[0]
        dtype = get_compute_dtype(freq_embed)
        decay = map_tokens(
            _decay,
            (freq_embed[None], squared_frequencies(freq_embed)[None]),
            (to_k.weight.to(dtype), to_k.bias.to(dtype)),
        )
        return decay[0]

    def forward(self, x: Tensor, decay: Tensor) -> Tensor:
        """Transform features (B, H, W, C) under a decay (H, W, C)."""
        x = self.dwconv(x)
        dtype = get_compute_dtype(x)
        weight_u, weight_z = self.linear.weight.to(dtype).chunk(2)
        bias_u, bias_z = self.linear.bias.to(dtype).chunk(2)
        mean, u = filter_fluctuation(linear(x, weight_u, bias_u), decay)
        return map_tokens(
            _gate,
            (u, x) if mean is None else (u, x, mean),
            (weight_z, bias_z, self.out_norm.weight, self.out_norm.bias),
            self.out_linear.weight,
            self.out_linear.bias,
        )


def _gate(u: Tensor, x: Tensor, *args: Tensor) -> Tensor:
    """Normalise u and multiply it by SiLU(linear(x)); both (B, n, C)."""
    *mean, weight, bias, norm_weight, norm_bias = args
    if mean:
        u = u.float() + mean[0]
    u = F.layer_norm(
        u, norm_weight.shape, norm_weight.to(u.dtype), norm_bias.to(u.dtype)
    )
    z = linear(x, weight, bias)
    return u.to(z.dtype) * F.silu(z)


def _decay(
    freq_embed: Tensor, frequencies: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    k = F.relu(linear(freq_embed, weight, bias))
    return torch.exp(-frequencies * k).to(k.dtype)


class Mlp(nn.Module):
    """Two 1x1 convolutions around an exact GELU.

    Args:
        dims (int): Input and output channels C.
        hidden_dims (int): Channels between.
    """

    def __init__(self, dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dims, hidden_dims, 1)
        self.fc2 = nn.Conv2d(hidden_dims, dims, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Transform features (..., C)."""
        dtype = get_compute_dtype(x)
        return map_tokens(
            _activate,
            (x,),
            (self.fc1.weight.flatten(1).to(dtype), self.fc1.bias.to(dtype)),
            self.fc2.weight.flatten(1),
            self.fc2.bias,
        )


def _activate(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Map x (B, n, C) to the hidden features (B, n, hidden) of an MLP."""
    return F.gelu(linear(x, weight, bias))
