"""Weights that a test needs and a checkpoint lacks are named."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from torch import nn

from mmvheat.checkpoint import CheckpointError, check_complete
from mmvheat.engine.hooks import CheckWeightsHook


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


class Renamed(nn.Linear):
    """Calls its weight by another name since version 2, as mmdet's heads."""

    _version = 2

    def _load_from_state_dict(self, weights, prefix, metadata, *args) -> None:
        if metadata.get('version') != self._version:
            weights[f'{prefix}old'] = weights.pop(f'{prefix}weight')
        super()._load_from_state_dict(weights, prefix, metadata, *args)


def test_versions_of_modules_are_kept() -> None:
    model = nn.ModuleDict(dict(bbox_head=Renamed(2, 3)))
    check_complete(model, dict(state_dict=model.state_dict()), 'a.pth')


def test_a_shared_parameter_needs_one_of_its_names() -> None:
    model = nn.ModuleDict(dict(a=nn.Linear(2, 3)))
    model['b'] = model['a']
    weights = {k: v for k, v in model.state_dict().items() if k[0] == 'b'}
    check_complete(model, weights, 'a.safetensors')
    del weights['b.bias']
    with pytest.raises(CheckpointError, match='1 of the 2 .* as a.bias'):
        check_complete(model, weights, 'a.safetensors')


class Wrapper(MMDistributedDataParallel):
    """Names weights as one does, without processes."""

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module = module


class Sharded(Wrapper):
    """Has, as FSDP, one flat parameter for all."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(nn.ParameterList([torch.zeros(9)]))
        self._fsdp_wrapped_module = module


def test_what_wraps_parts_of_a_model_is_let_through() -> None:
    # As MMSeparateDistributedDataParallel does; mmengine looks inside.
    model = make_model()
    weights = dict(state_dict=model.state_dict())
    model['backbone'] = Wrapper(model['backbone'])
    check_complete(model, weights, 'a.pth')


def test_the_hook_looks_inside_wrappers_but_those_that_shard() -> None:
    weights = dict(state_dict={})
    runner = SimpleNamespace(model=Wrapper(make_model()), _load_from='a.pth')
    with pytest.raises(CheckpointError, match='4 of the 4 parameters'):
        CheckWeightsHook().after_load_checkpoint(runner, weights)
    runner.model = Sharded(make_model())
    CheckWeightsHook().after_load_checkpoint(runner, weights)
