"""Print what mmcv is to be compiled for: the name of its wheel's folder.

Run by ``make_env.sh`` inside the environment, after torch is there. The name
holds everything that a compiled wheel depends on, for instance
``torch2.13.0+cpu-cp311-x86_64-cpu`` or
``torch2.13.0+cu130-cp311-x86_64-cuda13.0-sm80-sm90``.
"""

import os
import platform
import sys
from pathlib import Path

import torch
from torch.utils.cpp_extension import CUDA_HOME


def ops_target() -> str:
    """``'cpu'``, or the CUDA version and GPUs to compile mmcv's ops for."""
    force = os.environ.get('FORCE_CUDA')
    nvcc = CUDA_HOME is not None and Path(CUDA_HOME, 'bin/nvcc').exists()
    if torch.version.cuda is None or not nvcc or force == '0':
        return 'cpu'
    archs = os.environ.get('TORCH_CUDA_ARCH_LIST', '').replace(';', ' ')
    if not archs and torch.cuda.is_available():
        gpus = range(torch.cuda.device_count())
        pairs = {torch.cuda.get_device_capability(gpu) for gpu in gpus}
        archs = ' '.join(f'sm{major}{minor}' for major, minor in sorted(pairs))
    return '-'.join([f'cuda{torch.version.cuda}', *(archs or 'all').split()])


if __name__ == '__main__':
    python = f'cp{sys.version_info.major}{sys.version_info.minor}'
    machine = platform.machine()
    print(f'torch{torch.__version__}-{python}-{machine}-{ops_target()}')
