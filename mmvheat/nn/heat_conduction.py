"""The heat conduction operator as a layer of any network."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mmvheat.ops import resize_freq_embed

from .init import init_linear_layers
from .propagator import HeatPropagator, Propagator, check_propagator
from .sources import make_source


class _HeatConduction(nn.Module):
    num_sizes: int
    convolution: type[nn.Module]

    def __init__(
        self,
        channels: int,
        grid: int | Sequence[int],
        propagator: Propagator | None = None,
        k: str | float = 'freq_embed',
    ) -> None:
        super().__init__()
        if isinstance(grid, int):
            grid = (grid,) * self.num_sizes
        if len(grid) != self.num_sizes or min(grid) < 1:
            raise ValueError(
                f'grid of {type(self).__name__} must be a positive int or '
                f'{self.num_sizes} of them, but got {grid!r}'
            )
        self.dwconv = self.convolution(
            channels, channels, 3, padding=1, groups=channels
        )
        self.linear = nn.Linear(channels, 2 * channels)
        self.to_k = make_source(k, channels)
        self.out_norm = nn.LayerNorm(channels)
        self.out_linear = nn.Linear(channels, channels)
        self.propagator = check_propagator(
            HeatPropagator(channels) if propagator is None else propagator
        )
        self.freq_embed = None
        if k == 'freq_embed':
            weight = self.linear.weight.new_empty(*grid, channels)
            self.freq_embed = nn.Parameter(weight)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as vHeat does; the convolution keeps torch's way."""
        init_linear_layers(self)
        if self.freq_embed is not None:
            nn.init.trunc_normal_(self.freq_embed, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Transform features of any size, channels first, to that size."""
        if x.dim() != self.num_sizes + 2:
            raise ValueError(
                f'{type(self).__name__} takes (B, C) and {self.num_sizes} '
                f'sizes, but got {tuple(x.shape)}'
            )
        x = self.dwconv(x).movedim(1, -1)
        u, z = self.linear(x).chunk(2, dim=-1)
        u = self.propagator(u, self.get_k(u))
        return self.out_linear(self.out_norm(u) * F.silu(z)).movedim(-1, 1)

    def get_k(self, u: Tensor) -> Tensor:
        """Get the strength of propagation for features (B, *sizes, C)."""
        if self.freq_embed is None:
            return self.to_k(u)
        sizes = u.shape[1:-1]
        return self.to_k(resize_freq_embed(self.freq_embed, sizes, 'bicubic'))


class HeatConduction2d(_HeatConduction):
    """vHeat's heat conduction operator for feature maps (B, C, H, W).

    A depthwise 3x3 convolution, a linear layer that splits features and a
    gate, propagation, layer norm, gating by SiLU, and a linear layer; without
    a residual connection. Its parameters have the names and shapes of the
    operator ``layers.{i}.{j}.op`` of a vHeat, whose weights it can load,
    beside an embedding of its own, ``freq_embed``, (H, W, C).

    Args:
        channels (int): Channels C.
        grid (int | Sequence[int]): Size (H, W) of the embedding: that of
            the usual features. At other sizes it is interpolated.
        propagator (Propagator, optional): The law, of ``channels`` channels.
            Defaults to None, heat.
        k (str | float): Where its strength comes from, see
            :func:`mmvheat.nn.make_source`. Defaults to 'freq_embed'.

    Raises:
        ValueError: An argument has a value out of its range, or features
            have another number of dimensions.

    Example:
        >>> import torch
        >>> layer = HeatConduction2d(64, grid=28, k='vector')
        >>> layer(torch.rand(2, 64, 20, 30)).shape
        torch.Size([2, 64, 20, 30])
    """

    num_sizes = 2
    convolution = nn.Conv2d


class HeatConduction3d(_HeatConduction):
    """The heat conduction operator for volumes (B, C, D, H, W).

    As :class:`HeatConduction2d`, with an embedding (D, H, W, C) and a
    depthwise 3x3x3 convolution; for voxels as for frames of a video.

    Example:
        >>> import torch
        >>> layer = HeatConduction3d(16, grid=(4, 8, 8))
        >>> layer(torch.rand(1, 16, 5, 9, 9)).shape
        torch.Size([1, 16, 5, 9, 9])
    """

    num_sizes = 3
    convolution = nn.Conv3d
