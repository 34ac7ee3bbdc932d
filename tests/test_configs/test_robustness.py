"""Networks that are compared differ in their backbone alone."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

ROOT = Path(__file__).parents[2] / 'configs/robustness/quickstart'
OTHERS = sorted([*ROOT.glob('*swin*.py'), *ROOT.glob('*convnext*.py')])


def load_reference(path: Path) -> Config:
    name = path.name.replace('swin', 'vheat').replace('convnext', 'vheat')
    return Config.fromfile(path.with_name(name))


@pytest.mark.parametrize('path', OTHERS, ids=[path.stem for path in OTHERS])
def test_all_but_the_backbone_is_that_of_vheat(path: Path) -> None:
    cfgs = [Config.fromfile(path), load_reference(path)]
    for cfg in cfgs:
        assert cfg.model.pop('backbone')
        cfg.pop('custom_imports')

    assert cfgs[0].to_dict() == cfgs[1].to_dict()


def test_every_task_has_three_networks() -> None:
    assert len(OTHERS) == 6
    assert len([*ROOT.glob('*.py')]) == 9


@pytest.mark.parametrize('name', ['swin', 'convnext'])
def test_classifiers_are_equally_large(name: str) -> None:
    importlib.import_module('mmpretrain.utils').register_all_modules(False)
    init_default_scope('mmpretrain')
    (path,) = ROOT.glob(f'{name}*64x64.py')
    sizes = [
        sum(p.numel() for p in MODELS.build(cfg.model).parameters())
        for cfg in (Config.fromfile(path), load_reference(path))
    ]

    assert sizes[0] == pytest.approx(sizes[1], rel=0.03)
