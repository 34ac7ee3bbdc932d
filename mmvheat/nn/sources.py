"""Where the strength k of a propagator comes from."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor, nn


def make_source(k: str | float, dims: int) -> nn.Module:
    """Make the module that gives k.

    Args:
        k (str | float): Where k comes from:

            - ``'freq_embed'``: a linear layer and ReLU predict one for every
              frequency and channel from the frequency value embedding, the
              way of vHeat;
            - ``'input'``: the same layers predict one for every image and
              channel from the mean of the features;
            - ``'scalar'``: one learned number, 1 at the start;
            - ``'vector'``: one learned number a channel, 1 at the start;
            - a number: that one, for good.
        dims (int): Channels C.

    Returns:
        nn.Module: Takes the embedding or, for ``'input'``, the features.

    Raises:
        ValueError: ``k`` is none of these, or negative.
    """
    if k == 'freq_embed':
        return nn.Sequential(nn.Linear(dims, dims), nn.ReLU())
    if k == 'input':
        return PooledSource(nn.Linear(dims, dims), nn.ReLU())
    if k in ('scalar', 'vector'):
        return LearnedSource(1 if k == 'scalar' else dims)
    if isinstance(k, Real) and 0 <= k < math.inf:
        return ConstantSource(k)
    raise ValueError(
        "k must be 'freq_embed', 'input', 'scalar', 'vector' or a number of "
        f'at least 0, but got {k!r}'
    )


class PooledSource(nn.Sequential):
    """Layers behind a global average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, H, W, C) to k, (B, 1, 1, C)."""
        axes = tuple(range(1, x.dim() - 1))
        return super().forward(x.mean(axes, keepdim=True))


class LearnedSource(nn.Module):
    """A learned k, kept positive by its logarithm.

    Args:
        dims (int): Numbers to learn, 1 or the channels C.
    """

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.log_k = nn.Parameter(torch.zeros(dims))

    def forward(self, x: Tensor) -> Tensor:
        """Give k, (dims,), whatever the argument."""
        return self.log_k.exp()


class ConstantSource(nn.Module):
    """A constant k.

    Args:
        k (float): The constant.
    """

    def __init__(self, k: float) -> None:
        super().__init__()
        # A buffer would be lost where a module gets its storage later, as one
        # made on the meta device: checkpoints do not hold it.
        self.k = float(k)

    def forward(self, x: Tensor) -> Tensor:
        """Give k, a scalar on the device of the argument."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        return x.new_full((), self.k, dtype=dtype)
