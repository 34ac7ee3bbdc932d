"""Print what this environment holds, and prove that it works.

mmengine's list of the machine, then every part of OpenMMLab imported and
mmcv's compiled ``nms`` called: what works rather than what is installed::

    python tools/collect_env.py            # paste this into a bug report
    python tools/collect_env.py --strict   # exit code 1 if a part is broken
"""

from __future__ import annotations

import argparse
import sys
import warnings
from functools import partial
from importlib import import_module
from importlib.metadata import distributions

import torch
from mmengine.utils.dl_utils import collect_env

PARTS = (
    'torchvision.transforms',
    'mmdet.apis',
    'mmseg.apis',
    'mmpretrain.datasets',
    'mmvheat.models',
)


def main(argv: list[str] | None = None) -> int:
    """Print the list and whether all of it works."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--strict',
        action='store_true',
        help='exit with code 1 if a part of the toolbox does not work',
    )
    args = parser.parse_args(argv)
    warnings.simplefilter('ignore')

    checks = {'machine': list_machine, 'OpenCV': check_opencv}
    checks['mmcv'] = check_mmcv
    checks.update((part, partial(version, part)) for part in PARTS)
    broken = []
    for name, check in checks.items():
        try:
            print(f'{name}: {check()}')
        except Exception as error:  # a broken part may raise anything
            reason, *_ = f'{type(error).__name__}: {error}'.splitlines()
            print(f'{name}: DOES NOT WORK, {reason}')
            broken.append(name)
    print(f'Broken: {", ".join(broken)}' if broken else 'Everything works.')
    return int(bool(broken) and args.strict)


def list_machine() -> str:
    """What mmengine says of Python, compilers, GPUs and torch."""
    found = collect_env()
    del found['PyTorch compiling details'], found['numpy_random_seed']
    lines = (f'  {name}: {value}' for name, value in found.items())
    return '\n'.join((sys.executable, *lines))


def version(module: str) -> str:
    """The version of a package, after importing one of its modules."""
    import_module(module)
    return sys.modules[module.split('.')[0]].__version__


def check_opencv() -> str:
    """OpenCV's version; two distributions overwrite each other's files."""
    names = {dist.metadata['Name'].lower() for dist in distributions()}
    found = sorted(name for name in names if name.startswith('opencv'))
    if len(found) > 1:
        raise RuntimeError(
            f'several OpenCV distributions are installed ({found}); '
            'only opencv-python-headless should be'
        )
    return f'{version("cv2")} ({"".join(found) or "not from a package"})'


def check_mmcv() -> str:
    """mmcv's version and where its ops run, after calling nms there."""
    from mmcv.ops import get_compiling_cuda_version, nms

    boxes = torch.tensor([[0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    compiled = get_compiling_cuda_version() != 'not available'
    gpu = torch.cuda.is_available()
    where = ['cpu', 'cuda'] if gpu and compiled else ['cpu']
    for device in where:
        _, kept = nms(boxes.to(device), scores.to(device), 0.5)
        if kept.tolist() != [0, 2]:
            raise RuntimeError(f'nms on {device} kept boxes {kept.tolist()}')
    hint = (
        '; for detectors on the GPU install the toolkit (nvcc) of CUDA '
        f'{torch.version.cuda} and rebuild, make clean-env env'
    )
    text = f'{version("mmcv")}, nms works on {" and ".join(where)}'
    return text + hint * (gpu and not compiled)


if __name__ == '__main__':
    sys.exit(main())
