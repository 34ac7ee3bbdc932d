"""Layer-wise lr decay gives every parameter the lr of its depth."""

from __future__ import annotations

import pytest
from mmengine.model import BaseModule
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from mmvheat.engine import UserError

RATE, LR, DECAY = 0.5, 1e-3, 0.05


class Detector(BaseModule):
    """A backbone of 1 + 1 + 2 + 1 blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = MODELS.build(
            dict(
                type='vHeat',
                arch=dict(
                    embed_dims=8,
                    depths=(1, 1, 2, 1),
                    post_norm=False,
                    layer_scale=None,
                ),
                img_size=64,
            )
        )
        self.head = nn.Linear(64, 3)


def _groups(**paramwise) -> dict[str, dict]:
    model = Detector()
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=LR, weight_decay=DECAY),
            constructor='LayerDecayOptimWrapperConstructor',
            paramwise_cfg=paramwise,
        ),
    )
    names = {id(p): name for name, p in model.named_parameters()}
    groups = {
        names[id(parameter)]: group
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    assert groups.keys() == set(names.values())
    return groups


@pytest.mark.parametrize(
    ('name', 'layers_above'),
    [
        # 5 blocks: stem 0, blocks 1 to 5, everything else 6
        ('head.weight', 0),
        ('backbone.outnorm3.weight', 1),
        ('backbone.layers.3.0.op.linear.weight', 1),
        ('backbone.layers.2.1.mlp.fc1.weight', 2),
        ('backbone.layers.2.2.0.weight', 2),  # downsample: with its stage
        ('backbone.layers.2.0.mlp.fc1.weight', 3),
        ('backbone.freq_embed.2', 3),  # with the first block that uses it
        ('backbone.layers.0.0.op.to_k.0.weight', 5),
        ('backbone.patch_embed.conv1.weight', 6),
    ],
)
def test_lr_halves_with_every_layer_below(name, layers_above) -> None:
    groups = _groups(layer_decay_rate=RATE)
    assert groups[name]['lr'] == pytest.approx(LR * RATE**layers_above)
    assert groups[name]['weight_decay'] == DECAY


def test_other_rules_of_paramwise_cfg_hold_as_well() -> None:
    groups = _groups(
        layer_decay_rate=RATE,
        custom_keys={
            'norm': dict(decay_mult=0.0),
            'head': dict(lr_mult=10.0),
        },
    )
    assert groups['head.weight']['lr'] == pytest.approx(10 * LR)
    norm = groups['backbone.layers.3.0.norm1.weight']
    assert norm['weight_decay'] == 0
    assert norm['lr'] == pytest.approx(LR * RATE)


@pytest.mark.parametrize('rate', [None, 0, 1.5, '0.9'])
def test_rate_out_of_range(rate) -> None:
    with pytest.raises(UserError, match='0 < R <= 1'):
        _groups(layer_decay_rate=rate)


def test_backbone_that_knows_no_depth() -> None:
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    with pytest.raises(UserError, match='Linear lacks'):
        build_optim_wrapper(
            model,
            dict(
                optimizer=dict(type='SGD', lr=LR),
                constructor='LayerDecayOptimWrapperConstructor',
                paramwise_cfg=dict(layer_decay_rate=RATE),
            ),
        )
