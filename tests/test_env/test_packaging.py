"""Configs of the package are found through ``mmvheat::`` wherever it lives."""

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config

import mmvheat  # noqa: F401

ROOT = Path(__file__).parents[2]
CONFIG = 'mask_rcnn/mask-rcnn_vheat-t_fpn_1x_coco.py'
# The benchmark stays in the checkout.
LEFT_OUT = 'analysis_tools/benchmark'
# Needs a process of its own: another mmvheat is imported in this one.
USE_WHEEL = """
import importlib, json, sys
import mmvheat
from mmengine.config import Config
from mmengine.hub import get_config
child, name, commands = sys.argv[1:]
cfg, hub = Config.fromfile(child), get_config(name)
assert cfg.model.backbone.type == hub.model.backbone.type == 'vHeat'
assert cfg.mine == 1
print(mmvheat.__file__, hub.filename, sep='\\n')
for script, *sys.argv[1:] in json.loads(commands):
    module, function = script.split(':')
    try:
        code = getattr(importlib.import_module(module), function)()
    except SystemExit as stop:
        code = stop.code
    assert not code, code
"""


@pytest.fixture
def child(tmp_path):
    """A config that inherits from the package, in a folder of its own."""
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = 'mmvheat::{CONFIG}'\nmine = 1\n")
    return child


def test_configs_resolve_in_this_installation(child):
    cfg, hub = Config.fromfile(child), get_config(f'mmvheat::{CONFIG}')
    assert cfg.model.backbone.type == hub.model.backbone.type == 'vHeat'
    assert cfg.mine == 1
    folder = ROOT / 'mmvheat/.mim/configs'
    assert Path(hub.filename).is_relative_to(folder)


def test_configs_and_commands_work_in_a_wheel(wheel, child, tmp_path):
    site = tmp_path / 'site'
    wheel.extractall(site)
    (entry_points,) = site.glob('*.dist-info/entry_points.txt')
    config = configparser.ConfigParser()
    config.read(entry_points)
    scripts = config['console_scripts']
    convert = [scripts['interpolate4downstream'], '--inspect', '--pt_pth']
    convert.append(str(ROOT / 'tests/data/pre_norm_64.pth'))
    zoo = [scripts['mmvheat'], 'zoo', 'upernet_vheat-t']
    run = subprocess.run(
        [sys.executable, '-c', USE_WHEEL, child, f'mmvheat::{CONFIG}']
        + [json.dumps([convert, zoo])],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(site)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    package, hub_file, *printed = run.stdout.splitlines()
    assert package == str(site / 'mmvheat/__init__.py')
    assert Path(hub_file).is_relative_to(site / 'mmvheat/.mim/configs')
    assert '64x64' in '\n'.join(printed)
    assert 'mIoU 47.0' in '\n'.join(printed)


def test_wheel_holds_package_configs_and_tools(wheel):
    names = set(wheel.namelist())
    expected = {'mmvheat/.mim/model-index.yml'}
    expected.add('mmvheat/datasets/imagenet_classes.json')
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
