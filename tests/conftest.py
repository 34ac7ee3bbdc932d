"""Fixtures shared by all tests."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import config, utils
from mmengine.registry import MODELS, DefaultScope

from mmvheat import fast
from mmvheat.fast import lean

# Without a GPU, Triton's kernels run in its interpreter. It asks on import.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

ROOT = Path(__file__).parents[1]
DATA = ROOT / 'tests/data'
ARCHS = {
    'pre_norm': dict(
        embed_dims=8, depths=(1, 2, 1, 1), post_norm=False, layer_scale=None
    ),
    'post_norm': dict(
        embed_dims=8, depths=(1, 2, 1, 1), post_norm=True, layer_scale=1e-2
    ),
}


@pytest.fixture(scope='session', autouse=True)
def libraries_looked_up_once() -> Iterator[None]:
    """Save most of the time of reading a config.

    For every base of a library, mmengine loads pkg_resources again and reads
    all metafiles of the library.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((config, 'is_installed'), (utils, 'load')):
            found = functools.cache(getattr(module, name))
            patch.setattr(module, name, found)
        yield


@pytest.fixture(autouse=True)
def no_default_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the scope that another test has left: every config sets its own."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())


@pytest.fixture(
    scope='session', params=['pre_norm_64', 'post_norm_layer_scale_64']
)
def official_run(request) -> SimpleNamespace:
    """Random weights of the official model and what it computed with them.

    ``path`` is its checkpoint, ``weights`` are those of its backbone,
    ``expected`` is what it computed.
    """
    # A config pickled by yacs lies beside the weights.
    stand_in = (OrderedDict, 'yacs.config.CfgNode')
    with torch.serialization.safe_globals([stand_in]):
        checkpoint = torch.load(DATA / f'{request.param}.pth')
    return SimpleNamespace(
        path=DATA / f'{request.param}.pth',
        weights={
            name: value
            for name, value in checkpoint['model'].items()
            if not name.startswith('classifier')
        },
        expected=torch.load(DATA / f'{request.param}_expected.pt'),
    )


@pytest.fixture
def build():
    """Builds a small backbone whose heat visibly spreads."""

    def build(arch='pre_norm', **kwargs):
        torch.manual_seed(0)
        kwargs = {**dict(img_size=64, drop_path_rate=0.0), **kwargs}
        model = MODELS.build(
            dict(type='vHeat', arch=ARCHS.get(str(arch), arch), **kwargs)
        )
        for name, parameter in model.named_parameters():
            if 'freq_embed' in name or 'to_k' in name:
                # As initialised, k is all but zero.
                torch.nn.init.normal_(parameter, std=0.5)
        return model

    return build


@pytest.fixture(params=list(ARCHS))
def arch(request):
    return request.param


@pytest.fixture(params=['fast', 'plain'])
def state(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run with the faster forwards of the machine, and with plain ones."""
    monkeypatch.setattr(lean, '_MIN_BYTES', 0)  # images of tests are small
    with fast.disabled() if request.param == 'plain' else nullcontext():
        yield request.param


@pytest.fixture(scope='session')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this source tree, built from a copy of it."""
    folder = tmp_path_factory.mktemp('wheel')
    copy = folder / 'source'
    shutil.copytree(
        ROOT,
        copy,
        symlinks=True,
        ignore=shutil.ignore_patterns(
            '.git', '.venv', 'build', 'work_dirs', 'data', '*.egg-info'
        ),
    )
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps']
        + ['--no-build-isolation', '--wheel-dir', folder, copy],
        check=True,
    )
    (wheel,) = folder.glob('mmvheat-*.whl')
    return zipfile.ZipFile(wheel)
