"""torchvision imports beside a torch without CUDA, at no cost at start."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

SHIM = Path(__file__).parents[2] / 'requirements/torchvision_shim.py'
FAILURE = 'operator torchvision::nms does not exist'


def run_without_pth_files(code, *folders):
    """Run code where no .pth file has acted (-S), so no installed shim."""
    path = [*map(str, folders), sysconfig.get_path('purelib')]
    return subprocess.run(
        [
            sys.executable,
            '-S',
            '-c',
            f'import sys; sys.path[:0] = {path}\n' + code,
        ],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope='module')
def shim_is_needed():
    if FAILURE not in run_without_pth_files('import torchvision').stderr:
        pytest.skip("torchvision's compiled operators fit this torch")


def test_import_works_with_the_shim_alone(shim_is_needed):
    """And compiled operators stay absent, and say so."""
    run = run_without_pth_files(
        'import torchvision_shim, torchvision, torch\n'
        'from torchvision.models import resnet18\n'
        'from torchvision.transforms.functional import hflip\n'
        'print(resnet18().eval()(hflip(torch.rand(1, 3, 32, 32))).shape)\n'
        'torchvision.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)',
        SHIM.parent,
    )
    assert run.stdout.strip() == 'torch.Size([1, 1000])', run.stderr
    assert "Couldn't load custom C++ ops" in run.stderr


def test_start_imports_nothing_heavy():
    run = run_without_pth_files(
        'before = set(sys.modules)\n'
        'import torchvision_shim\n'
        'print(*sorted(set(sys.modules) - before))',
        SHIM.parent,
    )
    assert run.stdout.split() == ['torchvision_shim']


def test_nothing_is_declared_where_the_operators_load(tmp_path):
    """A torchvision whose ``_C`` library loads, here any library at all."""
    import _ctypes

    package = tmp_path / 'torchvision'
    package.mkdir()
    (package / '__init__.py').touch()
    shutil.copy(_ctypes.__file__, package / '_C.so')
    run = run_without_pth_files(
        'import torchvision_shim, torchvision, torch\n'
        'print(hasattr(torch.ops.torchvision, "nms"))',
        tmp_path,
        SHIM.parent,
    )
    assert run.stdout.strip() == 'False', run.stderr


def test_mmpretrain_transforms_work_in_this_environment():
    import mmpretrain.datasets  # noqa: F401
    from mmpretrain.registry import TRANSFORMS

    results = dict(img=np.zeros((64, 80, 3), np.uint8))
    for step in [
        dict(type='RandomResizedCrop', scale=32),
        dict(
            type='RandAugment', policies='timm_increasing',
            num_policies=2, total_level=10, magnitude_level=9,
        ),
        dict(type='AutoAugment', policies='imagenet'),
        dict(type='NumpyToPIL'),
        dict(type='torchvision/RandomGrayscale', p=1.0),
        dict(type='PILToNumpy'),
        dict(type='PackInputs'),
    ]:  # fmt: skip
        results = TRANSFORMS.build(step)(results)
    assert results['inputs'].shape == (3, 32, 32)
