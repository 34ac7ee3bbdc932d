"""The precision that operators run in."""

import torch
from torch import Tensor


def get_compute_dtype(x: Tensor) -> torch.dtype:
    """Get the dtype a matrix product of ``x`` runs in.

    Args:
        x (Tensor): A tensor of floating point numbers.

    Returns:
        torch.dtype: The autocast dtype, where autocast is enabled for the
        tensor's device and takes its dtype, else the tensor's own.
    """
    if is_autocast(x) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def is_autocast(x: Tensor) -> bool:
    """Tell whether autocast is enabled for the device of ``x``."""
    device = x.device.type
    # Some devices, such as meta, have no autocast to ask for.
    return torch.amp.is_autocast_available(
        device
    ) and torch.is_autocast_enabled(device)
