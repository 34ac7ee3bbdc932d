"""Configs written for the official code."""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS
from mmengine.utils import get_installed_path

from mmvheat.models import official, vHeat

SMALL = dict(dims=8, depths=(1, 1, 1, 1), img_size=64)


def build(name, **kwargs):
    return MODELS.build(dict(type=name, **kwargs))


@pytest.fixture(autouse=True)
def both_states():
    """Nothing is computed."""


@pytest.fixture
def warnings(monkeypatch):
    """Collects what is logged."""
    lines = []
    monkeypatch.setattr(
        official, 'print_log', lambda message, **_: lines.append(message)
    )
    return lines


@pytest.mark.parametrize(
    ('name', 'library', 'swin', 'overrides'),
    [
        (
            'MMDET_VHEAT',
            'mmdet',
            'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
            dict(
                drop_path=0.1,
                post_norm=True,
                layer_scale=1e-5,
                depths=(1, 1, 2, 1),
                dims=8,
                out_indices=(0, 1, 2, 3),
                img_size=512,
                pretrained=None,
            ),
        ),
        (
            'MMSEG_VHEAT',
            'mmsegmentation',
            'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_'
            'ade20k-512x512.py',
            dict(
                img_size=512,
                post_norm=False,
                drop_path_rate=0.3,
                depths=(1, 1, 2, 1),
                dims=8,
                out_indices=(0, 1, 2, 3),
                pretrained=None,
            ),
        ),
    ],
)
def test_configs_that_inherit_from_swin_build(
    name, library, swin, overrides, warnings
):
    # The official configs override a Swin config key by key, so that the
    # backbone also receives what only Swin understands.
    module = {'mmsegmentation': 'mmseg'}.get(library, library)
    pytest.importorskip(module)
    path = f'{get_installed_path(library)}/.mim/configs/{swin}'
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(
        dict(model=dict(backbone=dict(type=name, **overrides)))
    )
    backbone = cfg.model.backbone
    assert {'num_heads', 'window_size', 'init_cfg'} < set(backbone)

    model = MODELS.build(backbone)

    assert type(model) is vHeat
    assert model.embed_dims == (8, 16, 32, 64)
    assert model.depths == (1, 1, 2, 1)
    assert model.layers[0][0].post_norm == overrides['post_norm']
    assert (model.layers[0][0].gamma1 is None) == (
        overrides.get('layer_scale') is None
    )
    # What counts is the rate of Swin where the config does not set it.
    rate = overrides.get('drop_path_rate', 0.2)
    assert model.layers[3][0].drop_path.drop_prob == pytest.approx(rate)
    assert not model.init_cfg
    (warning,) = warnings
    assert {'num_heads', 'window_size', 'init_cfg'} < set(
        warning.replace(':', ',').replace(' ', ',').split(',')
    )


@pytest.mark.parametrize(
    ('name', 'side'), [('MMDET_VHEAT', 224), ('MMSEG_VHEAT', 512)]
)
def test_defaults_are_the_official_ones(name, side, warnings):
    with torch.device('meta'):
        model = build(name)
    assert model.img_size == (side, side)
    assert model.embed_dims == (96, 192, 384, 768)
    assert model.depths == (2, 2, 9, 2)
    assert model.layers[0][0].post_norm
    assert model.layers[0][0].gamma1 is None
    assert model.layers[3][1].drop_path.drop_prob == pytest.approx(0.1)
    assert not warnings


def test_keywords_reach_the_backbone(warnings):
    model = build(
        'MMDET_VHEAT',
        **SMALL,
        in_chans=4,
        mlp_ratio=2.0,
        post_norm=False,
        use_checkpoint=True,
        out_indices=[1, 0],
        patch_size=4,
    )
    assert model.patch_embed.conv1.in_channels == 4
    assert model.layers[0][0].mlp.fc1.out_channels == 16
    assert model.layers[0].with_cp
    assert model.out_indices == (1, 0)
    assert not warnings


def test_pretrained_is_loaded_by_init_weights(official_run):
    expected = official_run.expected
    arch = dict(expected['arch'])
    model = build(
        'MMDET_VHEAT',
        dims=arch.pop('embed_dims'),
        **arch,
        img_size=expected['target_size'],
        pretrained=str(official_run.path),
    )
    model.init_weights()
    for name, value in official_run.weights.items():
        if not name.startswith('freq_embed'):
            assert model.state_dict()[name].equal(value)
    for value, padded in zip(model.freq_embed, expected['padded_freq_embed']):
        assert value.equal(padded)


@pytest.mark.parametrize('name', ['MMDET_VHEAT', 'MMSEG_VHEAT'])
@pytest.mark.parametrize(
    ('typo', 'meant'),
    [
        ('drop_path_rat', 'drop_path_rate'),
        ('out_indicies', 'out_indices'),
        ('layerscale', 'layer_scale'),
        ('use_checkpoints', 'use_checkpoint'),
        ('img_sizes', 'img_size'),
    ],
)
def test_typos_are_refused_with_the_near_miss(name, typo, meant):
    with pytest.raises(TypeError, match=f"'{typo}'; did you mean '{meant}'"):
        build(name, **SMALL, **{typo: 1})


def test_far_typos_are_refused_without_a_guess():
    with pytest.raises(TypeError, match="keyword argument 'zzz'$"):
        build('MMDET_VHEAT', **SMALL, zzz=1)


def test_other_patch_sizes_are_refused():
    with pytest.raises(ValueError, match='patch_size=4 only, but got 8'):
        build('MMSEG_VHEAT', **SMALL, patch_size=8)


def test_config_dicts_are_accepted():
    cfg = ConfigDict(type='MMSEG_VHEAT', **SMALL)
    assert type(MODELS.build(cfg)) is vHeat
