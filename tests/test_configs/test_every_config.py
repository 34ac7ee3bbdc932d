"""Every file of configs/ trains, predicts and is free of foreign settings.

A new file is covered by lying there.
"""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope
from mmengine.runner import Runner
from tiny_config import (
    CONFIGS,
    NAMES,
    find_readers,
    get_dims,
    load_config,
    make_tiny,
)
from torch import nn

every_config = pytest.mark.parametrize('path', CONFIGS, ids=NAMES)


def build_model(cfg: Config) -> nn.Module:
    init_default_scope(cfg.default_scope)
    if 'data_preprocessor' in cfg:  # as the runner does
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return revert_sync_batchnorm(MODELS.build(cfg.model))


def describe_training(cfg: Config) -> str:
    """What a training step of a tiny config depends on, but for rates."""
    names = ('model', 'data_preprocessor', 'optim_wrapper', 'default_hooks')
    names += ('train_dataloader', 'val_dataloader', 'default_scope')
    parts = {name: copy.deepcopy(cfg.get(name)) for name in names}
    parts['model'].backbone.pop('drop_path_rate', None)
    for name in ('lr', 'weight_decay'):
        parts['optim_wrapper'].optimizer.pop(name)
    return repr(parts)


@every_config
def test_takes_a_training_step_and_predicts(
    path: Path, digit_scenes: Path, trained: set[str]
) -> None:
    torch.manual_seed(0)
    cfg = make_tiny(load_config(path), digit_scenes)
    training = describe_training(cfg)
    if training in trained:  # that of a smaller arch or a shorter schedule
        return
    model = build_model(cfg)
    model.init_weights()
    # Of the hooks it concerns the model alone.
    hook = HOOKS.build(cfg.default_hooks.float32_ops)
    hook.before_run(SimpleNamespace(model=model))
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    gradients = {}
    optim_wrapper.optimizer.register_step_pre_hook(
        lambda *_: gradients.update(
            {n: p.grad.clone() for n, p in model.backbone.named_parameters()}
        )
    )

    model.train()
    data = next(iter(Runner.build_dataloader(cfg.train_dataloader)))
    losses = model.train_step(data, optim_wrapper)

    assert losses['loss'].isfinite()
    assert all(g.isfinite().all() for g in gradients.values())
    assert gradients['patch_embed.' + first_layer(cfg)].any()

    model.eval()
    data = next(iter(Runner.build_dataloader(cfg.val_dataloader)))
    (prediction, *_) = model.test_step(data)

    for value in read_prediction(prediction):
        assert value.isfinite().all()
    trained.add(training)


@pytest.fixture(scope='module')
def trained() -> set[str]:
    """Descriptions of what has trained."""
    return set()


def first_layer(cfg: Config) -> str:
    is_vheat = cfg.model.backbone.type == 'vHeat'
    return 'conv1.weight' if is_vheat else 'projection.weight'


def read_prediction(sample: object) -> list[torch.Tensor]:
    if 'pred_instances' in sample:
        instances = sample.pred_instances
        return [instances.bboxes, instances.scores]
    if 'seg_logits' in sample:
        return [sample.seg_logits.data]
    return [sample.pred_score]


@every_config
def test_snapshot_is_trusted(path: Path) -> None:
    """What a stranger's ``config.json`` may name covers our own configs."""
    from mmvheat.export.trust import choose_trusted

    cfg = load_config(path)
    assert choose_trusted(cfg, path)['model']['type'] == cfg.model.type


@every_config
def test_channels_come_from_the_arch(path: Path) -> None:
    model = load_config(path).model
    dims = get_dims(model.backbone)
    stages = model.backbone.get('out_indices', range(4))
    readers = find_readers(model)

    assert readers
    for reader in readers:
        if isinstance(reader.in_channels, int):
            stage = reader.get('in_index', -1)
            assert reader.in_channels == dims[stage]
        else:
            assert list(reader.in_channels) == [dims[i] for i in stages]


@pytest.mark.parametrize(
    'path',
    [
        pytest.param(path, id=name)
        for path, name in zip(CONFIGS, NAMES)
        if 'vheat' in name
    ],
)
def test_nothing_of_another_backbone_is_left(path: Path) -> None:
    cfg = load_config(path)
    assert cfg.model.backbone.type == 'vHeat'
    text = repr(cfg.to_dict()).lower()
    for word in (
        *('resnet', 'caffe', "'style': 'pytorch'", 'torchvision', 'mixvision'),
        *('swin', 'absolute_pos_embed', 'relative_position'),
        *('open-mmlab', 'openmmlab', "'sgd'", 'mit_b0', 'panoptic_train'),
    ):
        assert word not in text
    assert cfg.model.get('pretrained') is None
    assert 'norm_cfg' not in cfg.model.backbone
    assert {'mmvheat', 'mmvheat.engine'} <= {*cfg.custom_imports['imports']}


@every_config
def test_batch_size_can_be_scaled(path: Path) -> None:
    cfg = load_config(path)
    base = cfg.auto_scale_lr.base_batch_size

    assert base % cfg.train_dataloader.batch_size == 0
    assert not cfg.auto_scale_lr.get('enable', False)
