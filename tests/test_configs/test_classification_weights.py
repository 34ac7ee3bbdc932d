"""Official classification weights give the official logits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from tiny_config import ROOT, load_config
from torch import nn

from mmvheat.checkpoint import (
    convert_checkpoint,
    read_checkpoint,
    write_checkpoint,
)

TOLERANCE = dict(rtol=0, atol=2e-4)


@pytest.fixture
def classifier(official_run: SimpleNamespace) -> nn.Module:
    """The classifier of configs/classification in the fixture's size."""
    config = ROOT / 'configs/classification/vheat-t_16xb128_in1k.py'
    cfg = load_config(config)
    expected = official_run.expected
    cfg.model.backbone.update(
        arch=expected['arch'], img_size=expected['img_size']
    )
    cfg.model.head.in_channels = expected['arch']['embed_dims'][-1]
    cfg.model.head.num_classes = expected['cls_logits'].shape[1]
    cfg.model.train_cfg = None
    init_default_scope('mmpretrain')
    return MODELS.build(cfg.model).eval()


def check_logits(model: nn.Module, expected: dict) -> None:
    with torch.no_grad():
        (features,) = model.backbone(expected['cls_input'])
        logits = model(expected['cls_input'], mode='tensor')

    assert features.shape == expected['cls_features'].shape
    torch.testing.assert_close(logits, expected['cls_logits'], **TOLERANCE)


def test_official_file_loads_as_it_is(
    classifier: nn.Module, official_run: SimpleNamespace
) -> None:
    load_checkpoint(classifier, str(official_run.path), strict=True)

    check_logits(classifier, official_run.expected)


def test_converted_file_loads_strictly(
    classifier: nn.Module, official_run: SimpleNamespace, tmp_path: Path
) -> None:
    size = official_run.expected['img_size']
    weights = convert_checkpoint(
        read_checkpoint(official_run.path), (size, size), task='cls'
    )
    write_checkpoint(weights, tmp_path / 'cls.pth', meta={})

    load_checkpoint(classifier, str(tmp_path / 'cls.pth'), strict=True)

    check_logits(classifier, official_run.expected)


def test_untrained_classifier_is_another(
    classifier: nn.Module, official_run: SimpleNamespace
) -> None:
    with pytest.raises(AssertionError, match='not close'):
        check_logits(classifier, official_run.expected)
