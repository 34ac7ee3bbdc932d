"""Layers of channels-last features (B, H, W, C)."""

import torch
from torch import Tensor, nn

from mmvheat.ops import has_symbolic_size

# Inductor of torch 2.13 fails to compare channels-last strides that are
# symbols: https://github.com/pytorch/pytorch/issues/188422.
_AVOID_SYMBOLIC_STRIDES = torch.__version__.startswith('2.13.')

_PLAIN = {
    nn.Conv2d,
    nn.Identity,
    nn.LayerNorm,
    nn.Linear,
    nn.ReLU,
    nn.Sequential,
}


def is_plain(*layers: nn.Module) -> bool:
    """Tell whether layers are all that their weights say.

    Only then may a function take the weights and do what the layers would.
    Replaced layers (LoRA, quantisation, FSDP) and those with hooks (pruning,
    spectral norm, feature extraction) must be called.

    Args:
        layers (nn.Module): The layers.

    Returns:
        bool: Whether all are.
    """
    return all(
        type(layer) in _PLAIN and not has_hooks(layer) for layer in layers
    )


def has_hooks(layer: nn.Module) -> bool:
    """Tell whether a layer calls others before or after itself."""
    return bool(
        layer._forward_pre_hooks
        or layer._forward_hooks
        or layer._backward_pre_hooks
        or layer._backward_hooks
    )


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
        if _AVOID_SYMBOLIC_STRIDES and has_symbolic_size(x):
            x = x.contiguous()
        return super().forward(x).permute(0, 2, 3, 1)
