"""The precision that operators run in.

Under autocast the residual stream and all norms are in single precision, on
every device; between two norms a branch computes in the autocast dtype, and
heat conduction leaves the mean of an image out of it.
"""

import torch
from torch import Tensor


def is_autocast(x: Tensor) -> bool:
    """Tell whether autocast is enabled for the device of ``x``."""
    device = _get_device(x)
    return _has_autocast(device) and torch.is_autocast_enabled(device)


def get_compute_dtype(x: Tensor) -> torch.dtype:
    """Get the dtype a matrix product of ``x`` runs in.

    Args:
        x (Tensor): A tensor of floating point numbers.

    Returns:
        torch.dtype: The autocast dtype, where autocast is enabled for the
        tensor's device and takes its dtype, else the tensor's own.
    """
    if is_autocast(x) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(_get_device(x))
    return x.dtype


def autocast_state(x: Tensor, **changes: bool) -> dict:
    """Get the arguments that make :class:`torch.autocast` what it is for x.

    Args:
        x (Tensor): Gives the device.
        changes: Arguments to replace, such as ``enabled=False``.

    Returns:
        dict: ``device_type``, ``dtype`` and ``enabled``.
    """
    device = _get_device(x)
    if not _has_autocast(device):
        device = 'cpu'  # switches nothing on other devices
    state = dict(
        device_type=device,
        dtype=torch.get_autocast_dtype(device),
        enabled=torch.is_autocast_enabled(device),
    )
    return {**state, **changes}


def _has_autocast(device: str) -> bool:
    """Tell whether a device has autocast to ask for."""
    # What is compiled has; torch 2.11 cannot trace the question.
    return torch.compiler.is_compiling() or torch.amp.is_autocast_available(
        device
    )


def _get_device(x: Tensor) -> str:
    """Name the device whose autocast is asked for."""
    # What has no data stands for what is on a GPU, so that it can be counted.
    return 'cuda' if x.is_meta else x.device.type
