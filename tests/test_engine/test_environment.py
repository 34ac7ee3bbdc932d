"""Configs made ready for the devices at hand."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

from mmvheat.engine.environment import prepare_environment, replace_sync_bn


def test_every_sync_bn_is_replaced_and_nothing_else() -> None:
    model = ConfigDict(
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        heads=[
            dict(norm_cfg=dict(type='GN', num_groups=32)),
            dict(type='Head', stages=(dict(norm_cfg=dict(type='SyncBN')),)),
        ],
    )
    assert replace_sync_bn(model) == 2
    assert 'SyncBN' not in str(model)
    assert model.norm_cfg == dict(type='BN', requires_grad=True)
    assert model.heads[0].norm_cfg == dict(type='GN', num_groups=32)


def test_single_process_keeps_its_config() -> None:
    settings = dict(
        model=dict(norm_cfg=dict(type='SyncBN')), test_evaluator=dict(type='x')
    )
    cfg = Config(settings)
    prepare_environment(cfg, 'none')
    # The runner itself reverts SyncBN of a single process.
    assert cfg.to_dict() == dict(settings, launcher='none')
