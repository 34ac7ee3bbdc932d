"""One reader for every layout."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmvheat.checkpoint import CheckpointError, read_checkpoint, to_mmpretrain


def with_prefix(weights, prefix):
    return {prefix + key: value for key, value in weights.items()}


def equal(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[key], expected[key]) for key in expected
    )


LAYOUTS = {
    'official': lambda w: {'model': w, 'epoch': 3},
    'official, DDP': lambda w: {'model': with_prefix(w, 'module.')},
    'only averaged': lambda w: {'model_ema': w},
    'state_dict': lambda w: {'state_dict': w, 'meta': {'epoch': 3}},
    'bare': lambda w: w,
    'bare, DDP': lambda w: with_prefix(w, 'module.'),
    'compiled, DDP': lambda w: {'model': with_prefix(w, 'module._orig_mod.')},
    "timm's averaged": lambda w: {'state_dict_ema': w},
    'beside numbers': lambda w: {'model': w, 'rng': np.random.get_state()},
}


@pytest.mark.parametrize('legacy', (False, True))
@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_gives_the_same_tensors(
    tmp_path, official_weights, layout, legacy
):
    torch.save(
        LAYOUTS[layout](official_weights),
        tmp_path / 'f',
        _use_new_zipfile_serialization=not legacy,
    )
    checkpoint = read_checkpoint(tmp_path / 'f')
    assert equal(checkpoint.state_dict, official_weights)
    assert checkpoint.prefix == ''
    assert (checkpoint.task, checkpoint.num_classes) == ('cls', 10)


def test_safetensors(tmp_path, official_weights):
    save_file(dict(official_weights), tmp_path / 'f.safetensors')
    checkpoint = read_checkpoint(tmp_path / 'f.safetensors')
    assert equal(checkpoint.state_dict, official_weights)


@pytest.mark.parametrize('prefix', ('backbone.', 'module.backbone.'))
def test_backbone_of_a_whole_model(tmp_path, official_weights, prefix):
    weights = with_prefix(official_weights, prefix)
    neck = {prefix.replace('backbone', 'neck') + 'conv': torch.ones(1)}
    torch.save({'state_dict': {**weights, **neck}}, tmp_path / 'f')
    checkpoint = read_checkpoint(tmp_path / 'f')
    assert checkpoint.prefix == 'backbone.'
    assert checkpoint.task == 'det'
    assert 'neck.conv' in checkpoint.state_dict
    expected = {
        key: value
        for key, value in official_weights.items()
        if not key.startswith('classifier')
    }
    assert equal(checkpoint.backbone_state(), expected)


def test_output_norm_of_a_classifier_is_no_backbone_norm(
    tmp_path, official_weights
):
    torch.save(to_mmpretrain(official_weights), tmp_path / 'f')
    checkpoint = read_checkpoint(tmp_path / 'f')
    assert checkpoint.task == 'cls'
    assert not any('outnorm' in key for key in checkpoint.backbone_state())


def test_file_says_what_it_is(official):
    path, expected = official
    checkpoint = read_checkpoint(path)
    info = checkpoint.backbone
    assert list(info.embed_dims) == expected['arch']['embed_dims']
    assert list(info.depths) == expected['arch']['depths']
    assert info.layer_scale == (expected['arch']['layer_scale'] is not None)
    assert info.img_size == (expected['img_size'],) * 2
    assert info.grids == ((16, 16), (8, 8), (4, 4), (2, 2))
    if checkpoint.meta:
        assert checkpoint.post_norm == expected['arch']['post_norm']
        assert (checkpoint.epoch, checkpoint.accuracy) == (299, 82.2)
        assert type(checkpoint.meta['config']['MODEL']) is dict


def test_averaged_weights_of_an_official_file(tmp_path, official_weights):
    averaged = {key: value + 1 for key, value in official_weights.items()}
    content = {'model': official_weights, 'model_ema': averaged}
    torch.save(content, tmp_path / 'f')
    assert read_checkpoint(tmp_path / 'f').has_ema
    for ema, expected in ((False, official_weights), (True, averaged)):
        checkpoint = read_checkpoint(tmp_path / 'f', ema=ema)
        assert equal(checkpoint.state_dict, expected)


@pytest.mark.parametrize('ema', (False, True))
def test_mmengine_swaps_averaged_weights_into_state_dict(
    tmp_path, official_weights, ema
):
    averaged = to_mmpretrain(official_weights)
    trained = {f'module.{k}': v + 1 for k, v in averaged.items()}
    trained['steps'] = torch.tensor(7)
    content = {'state_dict': averaged, 'ema_state_dict': trained}
    torch.save(content, tmp_path / 'f')
    checkpoint = read_checkpoint(tmp_path / 'f', ema=ema)
    assert equal(checkpoint.state_dict, averaged)
    assert checkpoint.has_ema


def test_ema_state_dict_alone_loses_its_counter(tmp_path, official_weights):
    weights = with_prefix(to_mmpretrain(official_weights), 'module.')
    weights['steps'] = torch.tensor(7)
    torch.save({'ema_state_dict': weights}, tmp_path / 'f')
    checkpoint = read_checkpoint(tmp_path / 'f', ema=True)
    assert equal(checkpoint.state_dict, to_mmpretrain(official_weights))


def break_weights(weights, how):
    weights = dict(weights)
    if how == 'missing':
        del weights['layers.2.1.op.linear.weight']
    elif how == 'block missing':
        for key in [k for k in weights if k.startswith('layers.2.0.')]:
            del weights[key]
    elif how == 'contradiction':
        weights['layers.1.0.norm1.bias'] = torch.zeros(5)
    elif how == 'grid':
        weights['freq_embed.2'] = torch.zeros(5, 4, 32)
    elif how == 'tiny grid':
        for i in range(4):
            weights[f'freq_embed.{i}'] = weights[f'freq_embed.{i}'][:1, :1]
    elif how == 'block added':
        weights['layers.2.1000000000.op.out_norm.bias'] = torch.zeros(32)
    elif how == 'scalar':
        weights['layers.0.0.mlp.fc1.weight'] = torch.tensor(1.0)
    elif how == 'no channels':
        weights['freq_embed.0'] = torch.zeros(16, 16, 0)
    elif how == 'sparse':
        name = 'layers.2.1.op.linear.weight'
        weights[name] = weights[name].to_sparse()
    elif how == 'dims':
        weights['freq_embed.1'] = torch.zeros(8, 16)
    elif how == 'resnet':
        weights = {'conv1.weight': torch.zeros(1), 'fc.bias': torch.zeros(1)}
    return weights


@pytest.mark.parametrize(
    'how, words',
    [
        ('missing', '1 are missing, such as layers.2.1.op.linear.weight'),
        ('block missing', 'is incomplete'),
        ('contradiction', 'contradicts itself: layers.1.0.norm1.bias'),
        ('grid', r'freq_embed.2 has the shape \(5, 4, 32\), but \(4, 4, 32\)'),
        ('tiny grid', 'is no vHeat: img_size must be .* at least 32 pixels'),
        ('block added', r'incomplete: stage 2 has the blocks \[0, 1, 10'),
        ('scalar', r'contradicts itself: .*fc1.weight has the shape \(\)'),
        ('no channels', r'shape \(16, 16, 0\), but .* none of size 0'),
        ('sparse', '1 are missing, such as layers.2.1.op.linear.weight'),
        ('dims', '3 dimensions are expected'),
        ('resnet', 'is not a vHeat checkpoint.*conv1.weight, fc.bias'),
    ],
)
def test_unfit_weights_are_named(tmp_path, official_weights, how, words):
    torch.save({'model': break_weights(official_weights, how)}, tmp_path / 'f')
    with pytest.raises(CheckpointError, match=words) as error:
        read_checkpoint(tmp_path / 'f')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'content, words',
    [
        ({'optimizer': {}, 'epoch': 1}, 'has no weights: its keys are'),
        ({}, 'holds a dict'),
        ([1, 2], 'holds a list'),
        (torch.ones(2, 3), r'a tensor of shape \(2, 3\)'),
    ],
)
def test_file_without_weights(tmp_path, content, words):
    torch.save(content, tmp_path / 'f')
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(tmp_path / 'f')


def test_averaged_weights_that_are_not_there(tmp_path, official_weights):
    torch.save({'model': official_weights}, tmp_path / 'f')
    with pytest.raises(CheckpointError, match=r'no averaged \(EMA\) weights'):
        read_checkpoint(tmp_path / 'f', ema=True)
