"""Where kernels run."""

from __future__ import annotations

import functools
import os
import warnings

import torch

from ..seam import is_on_trial

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def has_kernels(
    device: torch.device, dtype: torch.dtype, channels: int
) -> bool:
    """Tell whether kernels pay on a device, and compile."""
    if not is_on_trial():
        if device.type not in ('cuda', 'meta'):
            return False
        if device.type == 'cuda' and not _is_measured(device):
            return False
    return _compile(device, dtype, channels)


@functools.cache
def _is_measured(device: torch.device) -> bool:
    """Tell whether a device is a card of NVIDIA that knows bfloat16."""
    return bool(
        torch.version.cuda
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


@functools.cache
def _compile(device: torch.device, dtype: torch.dtype, channels: int) -> bool:
    """Run all kernels once, so that what cannot be compiled is never met."""
    interpreted = os.environ.get('TRITON_INTERPRET') == '1'
    if device.type not in ('cuda', 'meta') and not interpreted:
        return False
    try:
        from .kernels import run_all

        if device.type != 'meta':
            run_all(device, dtype, channels)
    except Exception as error:  # compilers fail in any way
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
        warnings.warn(
            f'The kernels of mmvheat.fast do not run on {device} in {dtype}, '
            f'plain operators do instead ({reason}).',
            stacklevel=2,
        )
        return False
    return True
