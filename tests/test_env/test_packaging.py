"""Configs of the package are found through ``mmvheat::`` wherever it lives."""

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIG = 'mask_rcnn/mask-rcnn_vheat-t_fpn_1x_coco.py'
# The benchmark, and what measures with it, stays in the checkout.
LEFT_OUT = ('analysis_tools/benchmark', 'analysis_tools/count_activations')
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
                name = str(file.relative_to(ROOT / folder))
                if not name.startswith(LEFT_OUT):
                    expected.add(f'mmvheat/.mim/{folder}/{name}')
    for file in (ROOT / 'mmvheat').rglob('*.py'):
        expected.add(str(file.relative_to(ROOT)))
    missing = expected - names
    assert not missing
    extra = {name for name in names - expected if '.dist-info/' not in name}
    assert not extra


def test_tools_in_the_wheel_import_none_that_was_left_out(wheel):
    def words(path):
        return {part.removesuffix('.py') for part in Path(path).parts}

    tools = (ROOT / 'tools').rglob('*.py')
    left_out = set().union(*(words(p.relative_to(ROOT)) for p in tools))
    packed = [n for n in wheel.namelist() if '/.mim/tools/' in n]
    left_out -= set().union(*map(words, packed))
    assert 'benchmark' in left_out
    for name in packed:
        if name.endswith('.py'):
            text = wheel.read(name).decode()
            imported = re.findall(r'^\s*(?:from|import) (\w+)', text, re.M)
            assert not left_out.intersection(imported), name


def test_wheel_brings_the_converter(wheel, tmp_path):
    site = tmp_path / 'site'
    wheel.extractall(site)
    (entry_points,) = site.glob('*.dist-info/entry_points.txt')
    config = configparser.ConfigParser()
    config.read(entry_points)
    module, _, function = config['console_scripts'][
        'interpolate4downstream'
    ].partition(':')
    checkpoint = ROOT / 'tests/data/pre_norm_64.pth'
    run = subprocess.run(
        [sys.executable, '-c', f'import {module}; {module}.{function}()']
        + ['--inspect', '--pt_pth', checkpoint],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(site)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert '64x64' in run.stdout
