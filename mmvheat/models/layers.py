"""Layers of channels-last features (B, H, W, C)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvheat.fast import accelerated
from mmvheat.ops import is_autocast
from mmvheat.ops.versions import is_compiling

# Inductor of torch 2.13 fails to compare channels-last strides that are
# symbols: https://github.com/pytorch/pytorch/issues/188422.
_AVOID_SYMBOLIC_STRIDES = torch.__version__.startswith('2.13.')


class LayerNorm(nn.LayerNorm):
    """Layer norm in single precision under autocast, on every device.

    CUDA's autocast does so by itself, that of a CPU does not. With it the
    residual stream, which starts at a norm, is in single precision: small
    branches, such as those of a new layer scale, would round to nothing in
    half precision.
    """

    @accelerated
    def forward(self, x: Tensor) -> Tensor:
        """Normalise features (..., C)."""
        if not is_autocast(x):
            return super().forward(x)
        x, weight, bias = (
            value.float() if value.element_size() < 4 else value
            for value in (x, self.weight, self.bias)
        )
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class DropPath(nn.Module):
    """Stochastic depth (arXiv:1603.09382): skip a branch of random images.

    Args:
        drop_prob (float): Probability to skip, in [0, 1).

    Raises:
        ValueError: ``drop_prob`` is out of its range.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(
                f'drop_prob must be in [0, 1), but got {drop_prob}'
            )
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """Zero random images of (B, ...) in training, scale the others."""
        if not self.training:
            return x
        shape = (len(x),) + (1,) * (x.dim() - 1)
        kept = torch.rand(shape, device=x.device) >= self.drop_prob
        return x * kept / (1 - self.drop_prob)


class ChannelsLastConv2d(nn.Conv2d):
    """2-D convolution with the arguments and parameters of ``nn.Conv2d``."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        # Channels last in memory as the features and, so, the gradients are:
        # else each step would reorder them.
        weight = self.weight.detach()
        self.weight = nn.Parameter(
            torch.empty_like(weight, memory_format=torch.channels_last).copy_(
                weight
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, H, W, C_in) to (B, H', W', C_out)."""
        x = x.permute(0, 3, 1, 2)
        if _AVOID_SYMBOLIC_STRIDES and _has_symbolic_size(x):
            x = x.contiguous()
        return super().forward(x).permute(0, 2, 3, 1)


def _has_symbolic_size(x: Tensor) -> bool:
    """Tell whether a program being compiled takes ``x`` of several sizes."""
    if not is_compiling():
        return False
    from torch.fx.experimental.symbolic_shapes import has_static_value

    return not all(has_static_value(size) for size in x.shape)
