"""Files of the official model and small backbones to load them into."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.registry import MODELS

import mmvheat  # noqa: F401

DATA = Path(__file__).parents[1] / 'data'
NAMES = ('pre_norm_64', 'post_norm_layer_scale_64')


class CfgNode(dict):
    """Pickles as yacs' config node does: a dict with attributes."""

    def __init__(self, *args):
        super().__init__(*args)
        self.__dict__['__immutable__'] = False


CfgNode.__module__ = 'yacs.config'


@pytest.fixture(params=NAMES)
def official(request):
    """An official-style checkpoint and what the official model makes of it."""
    return (
        DATA / f'{request.param}.pth',
        torch.load(DATA / f'{request.param}_expected.pt'),
    )


@pytest.fixture
def official_weights():
    return torch.load(DATA / 'post_norm_layer_scale_64.pth')['model']


@pytest.fixture
def yacs(monkeypatch):
    """A stand-in for yacs, to write files with; gone before they are read."""
    module = ModuleType('yacs.config')
    module.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, 'yacs', ModuleType('yacs'))
    monkeypatch.setitem(sys.modules, 'yacs.config', module)
    return CfgNode


@pytest.fixture
def build_backbone():
    def build(official=None, **kwargs):
        arch = dict(
            embed_dims=[8, 16, 32, 64],
            depths=[1, 1, 2, 1],
            post_norm=True,
            layer_scale=1e-5,
        )
        arch = dict(official['arch'] if official else arch)
        cfg = dict(type='vHeat', arch=arch, img_size=64)
        return MODELS.build({**cfg, **kwargs})

    return build
