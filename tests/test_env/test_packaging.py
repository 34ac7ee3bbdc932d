"""Configs of the package are found through ``mmvheat::`` wherever it lives."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = 'mask_rcnn/mask-rcnn_vheat-t_fpn_1x_coco.py'
RESOLVE = """
import json, sys
import mmvheat
from mmengine.config import Config
from mmengine.hub import get_config
cfg = Config.fromfile(sys.argv[1])
hub = get_config(sys.argv[2])
print(json.dumps([mmvheat.__file__, cfg.model.backbone.type, cfg.mine,
                  hub.model.backbone.type, hub.filename]))
"""


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
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


def resolve(tmp_path, **env):
    """Inherit a config of the package in a folder that is not the clone."""
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = 'mmvheat::{CONFIG}'\nmine = 1\n")
    run = subprocess.run(
        [sys.executable, '-c', RESOLVE, child, f'mmvheat::{CONFIG}'],
        cwd=tmp_path,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    package, backbone, mine, hub_backbone, hub_file = json.loads(
        run.stdout.splitlines()[-1]
    )
    assert backbone == hub_backbone == 'vHeat' and mine == 1
    package = Path(package).parent
    assert Path(hub_file).is_relative_to(package / '.mim/configs')
    return package


def test_configs_resolve_in_this_installation(tmp_path):
    assert resolve(tmp_path) == ROOT / 'mmvheat'


def test_configs_resolve_in_a_wheel(wheel, tmp_path):
    site = tmp_path / 'site'
    wheel.extractall(site)
    assert resolve(tmp_path, PYTHONPATH=str(site)) == site / 'mmvheat'


def test_wheel_holds_package_configs_and_tools(wheel):
    names = set(wheel.namelist())
    expected = {'mmvheat/.mim/model-index.yml'}
    for folder, patterns in {
        'configs': ('*.py', '*.yml', '*.md'),
        'tools': ('*.py', '*.sh'),
    }.items():
        for pattern in patterns:
            for file in (ROOT / folder).rglob(pattern):
                expected.add(f'mmvheat/.mim/{file.relative_to(ROOT)}')
    for file in (ROOT / 'mmvheat').rglob('*.py'):
        expected.add(str(file.relative_to(ROOT)))
    missing = expected - names
    assert not missing
    extra = {name for name in names - expected if '.dist-info/' not in name}
    assert not extra
