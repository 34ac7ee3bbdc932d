"""Where kernels run."""

from __future__ import annotations

import functools
import os
import warnings

import torch

from mmvheat.ops.versions import IS_BEFORE_2_6

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


def has_kernels_on_trial(
    device: torch.device, dtype: torch.dtype, channels: int
) -> bool:
    """Tell whether kernels that no card has measured are wanted, and run."""
    return is_on_trial() and _compile(device, dtype, channels, 'run_on_trial')


# torch.compile is to ask, not to record how the answer is found.
has_kernels._dynamo_marked_constant = True
has_kernels_on_trial._dynamo_marked_constant = True


@functools.cache
def _is_measured(device: torch.device) -> bool:
    """Tell whether a device is a card of NVIDIA that knows bfloat16."""
    return bool(
        torch.version.cuda
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


@functools.cache
def _compile(
    device: torch.device,
    dtype: torch.dtype,
    channels: int,
    function: str = 'run_all',
) -> bool:
    """Run kernels once, so that what cannot be compiled is never met."""
    if IS_BEFORE_2_6:
        return False
    interpreted = os.environ.get('TRITON_INTERPRET') == '1'
    if device.type not in ('cuda', 'meta') and not interpreted:
        return False
    try:
        from . import kernels

        if device.type != 'meta':
            getattr(kernels, function)(device, dtype, channels)
    except Exception as error:  # compilers fail in any way
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
        warnings.warn(
            f'Kernels of mmvheat.fast do not run on {device} in {dtype}, '
            f'plain operators do instead ({reason}).',
            stacklevel=2,
        )
        return False
    return True
