"""The layers need torch alone; the rest says what it misses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
# torch and what it needs, without which nothing of it is imported.
TORCH = (
    'torch',
    'torchgen',
    'functorch',
    'filelock',
    'fsspec',
    'jinja2',
    'markupsafe',
    'mpmath',
    'networkx',
    'sympy',
    'typing_extensions',
)
OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
TRAIN = """
import torch
from mmvheat.nn import HeatConduction2d, TailPropagator
layer = HeatConduction2d(8, 6, TailPropagator(8))
layer(torch.randn(2, 8, 5, 7)).square().mean().backward()
assert layer.freq_embed.grad.any()
"""


@pytest.fixture(autouse=True)
def both_states():
    """Processes of their own have their own."""


@pytest.fixture
def run(tmp_path):
    """Runs code where certain packages are not installed."""

    def run(code, wanted=None, unwanted=()):
        site = tmp_path / 'site'
        site.mkdir()
        for path in Path(torch.__file__).parents[1].iterdir():
            name = path.name.split('-')[0].removesuffix('.py').lower()
            if wanted is not None:
                install = name in wanted
            else:
                install = not name.startswith(unwanted)
            if install and path.suffix not in ('.pth', '.egg-link'):
                (site / path.name).symlink_to(path)
        return subprocess.run(
            [sys.executable, '-S', '-W', 'ignore', '-c', code],
            env={**os.environ, 'PYTHONPATH': f'{site}{os.pathsep}{ROOT}'},
            capture_output=True,
            text=True,
        )

    return run


def test_layers_train_where_nothing_but_torch_is_installed(run):
    done = run(
        f'{TRAIN}\nimport sys\n'
        f'assert not {set(OPENMMLAB)} & set(sys.modules)\n'
        'assert "numpy" not in sys.modules\n'
        'import mmvheat\n'
        'print("works")\n'
        'mmvheat.models',
        wanted=TORCH,
    )
    assert done.stdout == 'works\n', done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith('ImportError: mmvheat cannot register its models')


SAY = """
print("works")
for ask in asks:
    try:
        exec(ask)
    except ImportError as error:
        print(" ".join(str(error).split()))
    else:
        print("no error of", ask)
"""


def test_the_rest_says_what_is_missing(run):
    asks = [
        'mmvheat.models',
        'from mmvheat import models',
        'import mmvheat.models',
        'import mmvheat.checkpoint',
    ]
    done = run(f'import mmvheat\nasks = {asks}{SAY}', unwanted=OPENMMLAB)
    first, *errors = done.stdout.splitlines()
    assert first == 'works', done.stderr
    assert len(errors) == len(asks)
    for error in errors:
        assert 'mmvheat needs mmengine or mmengine-lite >=0.10' in error
        assert "pip install 'mmcv>=2.0" in error


def test_a_registry_that_works_says_what_is_missing(run):
    asks = [
        f'MODELS.build(dict(type="{name}", img_size=32))'
        for name in ('vHeat', 'MMDET_VHEAT', 'MMSEG_VHEAT')
    ]
    code = f'{TRAIN}\nfrom mmengine.registry import MODELS\nasks = {asks}'
    done = run(code + SAY, unwanted=('mmcv',))
    first, *errors = done.stdout.splitlines()
    assert first == 'works', done.stderr
    assert len(errors) == len(asks)
    for error in errors:
        assert 'mmvheat needs mmcv or mmcv-lite >=2.0' in error


def test_a_broken_library_is_as_good_as_none():
    code = (
        'import sys\n'
        'class Broken:\n'
        '    def find_spec(name, path=None, target=None):\n'
        '        if name.startswith("mmengine"):\n'
        '            raise RuntimeError("numpy.core.multiarray failed")\n'
        'sys.meta_path.insert(0, Broken)\n'
        f'{TRAIN}\nimport mmvheat\nprint("works")\nmmvheat.models'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == 'works\n', done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.endswith('its models: numpy.core.multiarray failed')
