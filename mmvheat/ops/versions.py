"""Which torch is here, and what releases before 2.4 call otherwise."""

from __future__ import annotations

import sys

import torch

_VERSION = tuple(map(int, torch.__version__.split('.')[:2]))
IS_BEFORE_2_6 = _VERSION < (2, 6)  # without all that kernels are made of
IS_BEFORE_2_10 = _VERSION < (2, 10)  # with holes in torch.load

if hasattr(torch.compiler, 'is_compiling'):
    is_compiling = torch.compiler.is_compiling
else:  # torch 2.1

    def is_compiling() -> bool:
        """Tell whether Dynamo records what runs."""
        dynamo = sys.modules.get('torch._dynamo')  # slow to import
        return dynamo is not None and dynamo.is_compiling()


if hasattr(torch, 'get_autocast_dtype'):
    get_autocast_dtype = torch.get_autocast_dtype
    is_autocast_available = torch.amp.is_autocast_available
    is_autocast_enabled = torch.is_autocast_enabled
    set_autocast_dtype = torch.set_autocast_dtype
else:  # one function a device
    _OF_DEVICE = {
        'cpu': (
            torch.is_autocast_cpu_enabled,
            torch.get_autocast_cpu_dtype,
            torch.set_autocast_cpu_dtype,
        ),
        'cuda': (
            torch.is_autocast_enabled,
            torch.get_autocast_gpu_dtype,
            torch.set_autocast_gpu_dtype,
        ),
    }

    def is_autocast_available(device: str) -> bool:
        """Tell whether a type of device has autocast."""
        return device in _OF_DEVICE

    def is_autocast_enabled(device: str) -> bool:
        """Tell whether autocast is enabled for a type of device."""
        return device in _OF_DEVICE and _OF_DEVICE[device][0]()

    def get_autocast_dtype(device: str) -> torch.dtype:
        """Get the dtype that autocast on a type of device computes in."""
        return _OF_DEVICE[device][1]()

    def set_autocast_dtype(device: str, dtype: torch.dtype) -> None:
        """Set the dtype that autocast on a type of device computes in."""
        _OF_DEVICE[device][2](dtype)
