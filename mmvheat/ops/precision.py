"""The precision that operators run in.

Under autocast the residual stream and all norms are in single precision, on
every device; between two norms a branch computes in the autocast dtype, and
heat conduction leaves the mean of an image out of it.
"""

import torch
from torch import Tensor

from .versions import (
    get_autocast_dtype,
    is_autocast_available,
    is_autocast_enabled,
    is_compiling,
)


def is_autocast(x: Tensor) -> bool:
    """Tell whether autocast is enabled for the device of ``x``."""
    device = _get_device(x)
    return _has_autocast(device) and is_autocast_enabled(device)


def get_compute_dtype(x: Tensor) -> torch.dtype:
    """Get the dtype a matrix product of ``x`` runs in, by autocast or not."""
    if is_autocast(x) and x.dtype != torch.float64:
        return get_autocast_dtype(_get_device(x))
    return x.dtype


def no_autocast(x: Tensor) -> torch.autocast:
    """Get a context in which nothing on the device of ``x`` is cast."""
    device = _get_device(x)
    return torch.autocast(
        device if _has_autocast(device) else 'cpu', enabled=False
    )


def _has_autocast(device: str) -> bool:
    """Tell whether a device has autocast to ask for."""
    # What is compiled has; torch 2.11 cannot trace the question.
    return is_compiling() or is_autocast_available(device)


def _get_device(x: Tensor) -> str:
    """Name the device whose autocast is asked for."""
    # What has no data stands for what is on a GPU, so that it can be counted.
    return 'cuda' if x.is_meta else x.device.type
