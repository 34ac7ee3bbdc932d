"""Fixtures shared by all tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).parents[1]
DATA = ROOT / 'tests/data'


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
