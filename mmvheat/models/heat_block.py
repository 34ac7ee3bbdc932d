"""The heat conduction block, on channels-last features (B, H, W, C)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvheat.fast import accelerated
from mmvheat.nn import (
    HeatPropagator,
    PooledSource,
    Propagator,
    check_propagator,
    make_source,
)

from .layers import ChannelsLastConv2d, DropPath, LayerNorm


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
        propagator (Propagator, optional): As of :class:`HeatConduction`.
        k (str | float): As of :class:`HeatConduction`.
    """

    def __init__(
        self,
        dims: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        post_norm: bool = False,
        layer_scale: float | None = None,
        propagator: Propagator | None = None,
        k: str | float = 'freq_embed',
    ) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.norm1 = LayerNorm(dims)
        self.op = HeatConduction(dims, propagator, k)
        self.norm2 = LayerNorm(dims)
        self.mlp = Mlp(dims, int(dims * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.gamma1 = self.gamma2 = None
        if layer_scale is not None:
            self.gamma1 = nn.Parameter(torch.full((dims,), layer_scale))
            self.gamma2 = nn.Parameter(torch.full((dims,), layer_scale))

    @accelerated
    def forward(self, x: Tensor, freq_embed: Tensor) -> Tensor:
        """Transform features.

        Args:
            x (Tensor): Shape (B, H, W, C).
            freq_embed (Tensor): FVE of the size of the features, (H, W, C).

        Returns:
            Tensor: Shape (B, H, W, C).
        """
        if self.post_norm:
            x = self.add(x, self.norm1(self.op(x, freq_embed)), self.gamma1)
            return self.add(x, self.norm2(self.mlp(x)), self.gamma2)
        x = self.add(x, self.op(self.norm1(x), freq_embed), self.gamma1)
        return self.add(x, self.mlp(self.norm2(x)), self.gamma2)

    def add(self, x: Tensor, branch: Tensor, gamma: Tensor | None) -> Tensor:
        """Add a branch, perhaps scaled or skipped, to features of its shape.

        Args:
            x (Tensor): Shape (B, H, W, C).
            branch (Tensor): Shape (B, H, W, C).
            gamma (Tensor, optional): Scale of the channels, (C,).

        Returns:
            Tensor: Shape (B, H, W, C).
        """
        scale = self.scale(x, gamma)
        return x + branch if scale is None else torch.addcmul(x, branch, scale)

    def scale(self, x: Tensor, gamma: Tensor | None) -> Tensor | None:
        """Scale of a branch: that of the channels, and drop path's an image.

        Args:
            x (Tensor): Features, shape (B, H, W, C).
            gamma (Tensor, optional): Scale of the channels, (C,).

        Returns:
            Tensor: Shape (C,), (B, 1, 1, 1) or (B, 1, 1, C); None for 1.
        """
        if isinstance(self.drop_path, DropPath) and self.training:
            # One factor an image instead of a pass over all features.
            kept = self.drop_path(x.new_ones(len(x), 1, 1, 1))
            return kept if gamma is None else kept * gamma
        return gamma


class HeatConduction(nn.Module):
    """Heat conduction operator (HCO).

    A 3x3 depthwise convolution mixes neighbours, a linear layer splits the
    features into a temperature u and a gate z; u conducts heat, or spreads by
    another law, is normalised, gated by SiLU(z) and projected.

    Args:
        dims (int): Channels C.
        propagator (Propagator, optional): The law by which u spreads.
            Defaults to None, heat conduction.
        k (str | float): Where its strength comes from, see
            :func:`mmvheat.nn.make_source`. Defaults to 'freq_embed'.
    """

    def __init__(
        self,
        dims: int,
        propagator: Propagator | None = None,
        k: str | float = 'freq_embed',
    ) -> None:
        super().__init__()
        self.dwconv = ChannelsLastConv2d(dims, dims, 3, 1, 1, groups=dims)
        self.linear = nn.Linear(dims, 2 * dims)
        self.to_k = make_source(k, dims)
        self.out_norm = LayerNorm(dims)
        self.out_linear = nn.Linear(dims, dims)
        self.propagator = check_propagator(
            HeatPropagator(dims) if propagator is None else propagator
        )

    @accelerated
    def forward(self, x: Tensor, freq_embed: Tensor) -> Tensor:
        """Transform features.

        Args:
            x (Tensor): Shape (B, H, W, C).
            freq_embed (Tensor): FVE of the size of the features, (H, W, C).

        Returns:
            Tensor: Shape (B, H, W, C).
        """
        x = self.dwconv(x)
        u, z = self.linear(x).chunk(2, dim=-1)
        u = self.propagator(u, self.get_k(u, freq_embed))
        return self.out_linear(self.out_norm(u) * F.silu(z))

    @accelerated
    def get_k(self, u: Tensor, freq_embed: Tensor) -> Tensor:
        """Get the strength of propagation, (H, W, C) from an FVE."""
        by_input = isinstance(self.to_k, PooledSource)
        return self.to_k(u if by_input else freq_embed)


class Mlp(nn.Module):
    """Two 1x1 convolutions around an exact GELU.

    Args:
        dims (int): Input and output channels C.
        hidden_dims (int): Channels between.
    """

    def __init__(self, dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = ChannelsLastConv2d(dims, hidden_dims, 1)
        self.fc2 = ChannelsLastConv2d(hidden_dims, dims, 1)

    @accelerated
    def forward(self, x: Tensor) -> Tensor:
        """Transform features (B, H, W, C) of any size."""
        return self.fc2(F.gelu(self.fc1(x)))
