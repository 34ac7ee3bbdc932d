"""Changes to other libraries: each works, and each can be left out."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader, FlexibleRunner, Runner

import mmvheat.engine  # noqa: F401
from mmvheat.compat import CHANGES, make_changes

IS_KEPT = platform.libc_ver()[0] == 'glibc' and not torch.cuda.is_available()
STATE = {'state_dict': {'weight': torch.ones(2)}, 'meta': {'epoch': 3}}


# A process imports mmengine for ten seconds: one shows all.
FRESH = """
import os, sys
from mmengine.model import BaseModule
before = set(sys.modules)
import mmvheat
from mmengine.registry import MODELS
assert MODELS.get('vHeat') is not None
print(*sorted(set(sys.modules) - before))

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import CheckpointLoader, FlexibleRunner, Runner
schemes = dict(CheckpointLoader._schemes)
methods = [r.register_default_hooks for r in (Runner, FlexibleRunner)]
import mmvheat.engine
from mmvheat.compat import CHANGES, make_changes

import torch

def get_memory():
    if not os.path.exists('/proc/self/statm'):
        return 0
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

def show():
    before = get_memory()
    torch.ones(2**24)  # 64 MiB, freed at once
    kept = get_memory() - before
    runners = (Runner, FlexibleRunner)
    now = [r.register_default_hooks for r in runners]
    print('configs' * ('mmvheat' in MODULE2PACKAGE),
          'checkpoints' * (CheckpointLoader._schemes != schemes),
          'hooks' * all(a is not b for a, b in zip(now, methods)),
          'memory' * (kept > 2**25))

show()
os.environ['MMVHEAT_COMPAT'] = 'configs, hooks'
make_changes(*CHANGES)
show()
del os.environ['MMVHEAT_COMPAT']
make_changes(*CHANGES)
show()

import mmvheat.visualization
print(*{'mmdet', 'mmseg', 'mmpretrain'} & set(sys.modules))
"""


def test_import_is_light_and_every_change_can_be_left_out() -> None:
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', FRESH],
        env={**os.environ, 'MMVHEAT_COMPAT': ''},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    modules, *changes, downstream = done.stdout.splitlines()

    assert 'mmvheat.models.vheat' in modules.split()
    new = [name.split('.') for name in modules.split()]
    parts = {name[1] for name in new if name[0] == 'mmvheat' and name[1:]}
    assert parts <= {'compat', 'fast', 'models', 'nn', 'ops', 'version'}
    others = {name[0] for name in new} - {'mmvheat'}
    assert others <= {'packaging'} | sys.stdlib_module_names

    assert [line.split() for line in changes] == [
        [],
        ['configs', 'hooks'],
        ['configs', 'checkpoints', 'hooks'] + ['memory'] * IS_KEPT,
    ]
    # Neither the engine nor what draws needs the libraries of the tasks.
    assert downstream == ''


def test_unknown_change_is_refused(monkeypatch) -> None:
    monkeypatch.setenv('MMVHEAT_COMPAT', 'configs,hoks')
    with pytest.raises(ValueError, match='configs, checkpoints, hooks'):
        make_changes('configs')


def test_configs_of_the_package_resolve() -> None:
    cfg = Config.fromfile(
        Config._get_cfg_path('mmvheat::_base_/runtime.py', '')[0],
        import_custom_modules=False,
    )
    assert 'check_data' in cfg.vheat_hooks


@pytest.mark.parametrize('runner', [Runner, FlexibleRunner])
def test_hook_that_is_none_is_left_out(runner) -> None:
    registered = []

    class Recorder:
        def register_hook(self, hook) -> None:
            registered.append(hook['type'] if isinstance(hook, dict) else hook)

    runner.register_default_hooks(
        Recorder(), dict(mine=None, timer=None, other=dict(type=Hook))
    )
    assert Hook in registered
    assert None not in registered
    assert 'IterTimerHook' not in registered
    assert 'CheckpointHook' in registered


def test_two_calls_change_no_more_than_one() -> None:
    methods = Runner.register_default_hooks, Config._get_cfg_path
    make_changes(*CHANGES)
    assert (Runner.register_default_hooks, Config._get_cfg_path) == methods


@pytest.mark.parametrize('map_location', [None, 'cpu', 'meta'])
def test_checkpoint_of_another_model_is_read_as_by_torch(
    tmp_path, map_location
) -> None:
    path = str(tmp_path / 'f.pth')
    torch.save(STATE, path)
    read = CheckpointLoader.load_checkpoint(path, map_location)
    plain = torch.load(path, map_location=map_location, weights_only=True)
    weight, expected = (c['state_dict'].pop('weight') for c in (read, plain))
    assert weight.device == expected.device
    assert map_location == 'meta' or torch.equal(weight, expected)
    assert read == plain
    assert type(read) is type(plain)
