"""Weights that a test needs and a checkpoint lacks are named."""

from __future__ import annotations

import pytest
from torch import nn

from mmvheat.checkpoint import CheckpointError, check_complete


def make_model(classes: int = 3) -> nn.Module:
    """A backbone and heads, one of which is for the training alone."""
    return nn.ModuleDict(
        dict(
            backbone=nn.BatchNorm2d(4),
            decode_head=nn.Linear(4, classes),
            auxiliary_head=nn.Linear(4, classes),
        )
    )


def test_weights_of_a_whole_model() -> None:
    weights = make_model().state_dict()
    check_complete(make_model(), dict(state_dict=weights, meta={}), 'a.pth')
    check_complete(make_model(), weights, 'a.pth')
    distributed = {f'module.{name}': value for name, value in weights.items()}
    check_complete(make_model(), dict(state_dict=distributed), 'a.pth')


def test_what_no_prediction_needs_may_be_missing() -> None:
    weights = {
        name: value
        for name, value in make_model().state_dict().items()
        if 'auxiliary' not in name and 'num_batches' not in name
    }
    check_complete(make_model(), dict(state_dict=weights), 'a.pth')


def test_weights_of_a_backbone_alone() -> None:
    weights = {
        name: value
        for name, value in make_model().state_dict().items()
        if name.startswith('backbone')
    }
    with pytest.raises(CheckpointError) as error:
        check_complete(make_model(), dict(state_dict=weights), 'a.pth')
    assert 'a.pth has no weights for 2 of the 4 ' in str(error.value)
    assert 'decode_head.weight' in str(error.value)


def test_weights_of_other_classes() -> None:
    weights = make_model(7).state_dict()
    with pytest.raises(CheckpointError) as error:
        check_complete(make_model(), dict(state_dict=weights), 'a.pth')
    assert 'size mismatch for decode_head.weight' in str(error.value)
    assert '\n' not in str(error.value)
