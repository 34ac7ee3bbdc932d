"""Networks that are compared differ in their backbone alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import import_modules_from_strings

from mmvheat.commands.config import register_task_library

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


@pytest.mark.parametrize('path', OTHERS, ids=[path.stem for path in OTHERS])
def test_networks_are_equally_large(path: Path) -> None:
    sizes = []
    for cfg in (Config.fromfile(path), load_reference(path)):
        register_task_library(cfg)
        import_modules_from_strings(**cfg.custom_imports)
        init_default_scope(cfg.default_scope)
        model = MODELS.build(cfg.model)
        sizes.append(sum(p.numel() for p in model.parameters()))

    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
