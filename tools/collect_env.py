"""Print what this environment holds and what it can do, as one table.

Every part is imported, and mmcv's compiled ``nms`` is called, so the table
shows what works rather than what is installed::

    python tools/collect_env.py            # paste this into a bug report
    python tools/collect_env.py --strict   # exit code 1 if a part is broken
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distributions, version

# What the toolbox needs: (distribution, modules that must import).
PARTS = (
    ('torchvision', ('torchvision.transforms',)),
    ('mmengine', ('mmengine.runner',)),
    ('mmdet', ('mmdet.apis',)),
    ('mmsegmentation', ('mmseg.apis',)),
    ('mmpretrain', ('mmpretrain', 'mmpretrain.datasets')),
    ('mmvheat', ('mmvheat',)),
)
VERSIONS_ONLY = ('numpy', 'scipy', 'scikit-learn', 'onnx', 'onnxruntime')


def main(argv: list[str] | None = None) -> int:
    """Print the table and what this machine cannot do."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--strict',
        action='store_true',
        help='exit with code 1 if a part of the toolbox does not work',
    )
    args = parser.parse_args(argv)
    warnings.simplefilter('ignore')

    rows, problems = [], []
    for name, probe in probes():
        try:
            rows.append((name, probe()))
        except Exception as error:  # a broken part may raise anything
            reason = f'{type(error).__name__}: {error}'.strip()
            rows.append((name, 'DOES NOT WORK'))
            problems.append(f'{name}: {reason.splitlines()[0]}')
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f'{name:<{width}}  {value}')
    for problem in problems:
        print(f'\nBroken: {problem}')
    if not problems:
        print(f'\n{describe_limits()}')
    return int(bool(problems) and args.strict)


def probes() -> list[tuple[str, Callable[[], str]]]:
    """The rows of the table: a name and what computes its value."""
    rows = [
        ('Python', describe_python),
        ('Machine', describe_machine),
        ('C++ compiler', lambda: first_line(os.environ.get('CXX', 'c++'))),
        ('CUDA compiler', lambda: last_line('nvcc')),
        ('torch', describe_torch),
        ('GPUs', describe_gpus),
        ('OpenCV', describe_opencv),
        ('mmcv', describe_mmcv),
    ]
    for name, modules in PARTS:
        rows.append((name, lambda n=name, m=modules: describe_part(n, m)))
    for name in VERSIONS_ONLY:
        rows.append((name, lambda n=name: installed_version(n)))
    return rows


def describe_python() -> str:
    return f'{platform.python_version()} ({sys.executable})'


def describe_machine() -> str:
    return f'{platform.platform()}, {os.cpu_count()} cores'


def describe_torch() -> str:
    import torch

    cuda = torch.version.cuda
    return f'{torch.__version__} ({f"CUDA {cuda}" if cuda else "CPU only"})'


def describe_gpus() -> str:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [torch.cuda.get_device_name(i) for i in range(count)]
    unique = sorted(set(names))
    return ', '.join(f'{names.count(n)} x {n}' for n in unique) or 'none'


def describe_opencv() -> str:
    """OpenCV's distribution; two of them overwrite each other's files."""
    import cv2

    found = {
        dist.metadata['Name'].lower()
        for dist in distributions()
        if dist.metadata['Name'].lower().startswith('opencv')
    }
    if len(found) > 1:
        raise RuntimeError(
            f'several OpenCV distributions are installed ({sorted(found)}); '
            'only opencv-python-headless should be'
        )
    return f'{cv2.__version__} ({"".join(found) or "not from a package"})'


def describe_mmcv() -> str:
    """mmcv's version and where its compiled ops run, after calling nms."""
    import torch
    from mmcv.ops import get_compiling_cuda_version, nms

    boxes = torch.tensor([[0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    cuda = get_compiling_cuda_version()
    on_gpu = cuda != 'not available' and torch.cuda.is_available()
    for device in ('cpu', 'cuda') if on_gpu else ('cpu',):
        _, kept = nms(boxes.to(device), scores.to(device), 0.5)
        if kept.tolist() != [0, 2]:
            raise RuntimeError(f'nms on {device} kept boxes {kept.tolist()}')
    ops = 'CPU' if cuda == 'not available' else f'CUDA {cuda}'
    return f'{installed_version("mmcv")} ({ops} ops, nms works)'


def describe_part(name: str, modules: tuple[str, ...]) -> str:
    for module in modules:
        import_module(module)
    return f'{installed_version(name)} (imports {", ".join(modules)})'


def installed_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return 'not installed'


def first_line(compiler: str) -> str:
    return version_lines(compiler)[0]


def last_line(compiler: str) -> str:
    return version_lines(compiler)[-1]


def version_lines(compiler: str) -> list[str]:
    """What a compiler says of itself, or why it does not."""
    command = compiler.split()
    if shutil.which(command[0]) is None:
        return ['none']
    run = subprocess.run(
        [*command, '--version'], capture_output=True, text=True
    )
    return run.stdout.strip().splitlines() or ['does not run']


def describe_limits() -> str:
    """One sentence on what this machine cannot do."""
    import torch
    from mmcv.ops import get_compiling_cuda_version

    if not torch.cuda.is_available():
        why = (
            'torch sees no GPU'
            if torch.version.cuda
            else 'this torch is a CPU build'
        )
        return (
            f'Everything works on the CPU alone ({why}): no NCCL, and SyncBN '
            'and AMP in fp16 need a GPU.'
        )
    if get_compiling_cuda_version() == 'not available':
        return (
            "torch uses the GPU, but mmcv's ops were compiled for the CPU: "
            f'detectors need the CUDA {torch.version.cuda} toolkit (nvcc) '
            'installed and the environment rebuilt (make clean-env env).'
        )
    return 'Everything works, on the CPU and on the GPU.'


if __name__ == '__main__':
    sys.exit(main())
