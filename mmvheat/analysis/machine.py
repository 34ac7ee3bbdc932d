"""On what something was measured, in a few lines."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mmvheat.version import __version__

PACKAGES = 'mmengine mmcv mmcv-lite mmdet mmsegmentation mmpretrain'


def describe_machine(device: str) -> dict[str, str]:
    """Describe the processors and the software that this run uses."""
    text = ''
    if Path('/proc/cpuinfo').is_file():
        text = Path('/proc/cpuinfo').read_text()
    name, family, model = (
        (re.findall(rf'^{key}\s*: (.*)', text, re.M) or ['unknown'])[0]
        for key in ('model name', 'cpu family', 'model')
    )
    # Ratios differ between generations, whose name may be the same.
    units = [unit for unit in ('avx2', 'avx512f', 'amx_tile') if unit in text]
    machine = {
        'CPU': f'{name} (family {family}, model {model}; '
        f'{", ".join(units)}), {os.cpu_count()} cores, '
        f'{torch.get_num_threads()} threads'
    }
    if device == 'cuda':
        gpu = torch.cuda.get_device_properties(0)
        machine['GPU'] = (
            f'{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, CUDA '
            f'{torch.version.cuda}; fp32 with TF32 in matrix products: '
            f'{torch.backends.cuda.matmul.allow_tf32}, in convolutions: '
            f'{torch.backends.cudnn.allow_tf32}'
        )
    versions = {'Python': platform.python_version()}
    versions['torch'] = torch.__version__
    # Run from a checkout it need not be installed.
    versions['mmvheat'] = __version__
    for package in PACKAGES.split():
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    machine['Versions'] = ', '.join(f'{k} {v}' for k, v in versions.items())
    return machine
