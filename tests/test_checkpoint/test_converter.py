"""Conversion is a pure function of state dicts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmvheat.checkpoint import (
    CheckpointError,
    change_img_size,
    convert_checkpoint,
    convert_to_downstream,
    read_checkpoint,
    to_mmpretrain,
    to_official,
)


def freq_embeds(weights):
    return [value for key, value in weights.items() if 'freq_embed' in key]


def test_padding_is_bit_equal_to_the_official_rule(official):
    path, expected = official
    side = expected['target_size']
    weights = convert_checkpoint(read_checkpoint(path), (side, side))
    for found, wanted in zip(
        freq_embeds(weights), expected['padded_freq_embed']
    ):
        assert torch.equal(found, wanted)
    assert not any('classifier' in key for key in weights)


@pytest.mark.parametrize(
    'size', [(32, 32), (64, 64), (96, 160), (192, 32), (800, 1344), (100, 70)]
)
def test_padding_keeps_the_frequency_index(official_weights, size):
    weights = convert_to_downstream(official_weights, size)
    pairs = zip(freq_embeds(official_weights), freq_embeds(weights))
    for i, (old, new) in enumerate(pairs):
        height, width = size[0] // 4 // 2**i, size[1] // 4 // 2**i
        expected = np.zeros((height, width, old.shape[2]), np.float32)
        rows, columns = min(height, len(old)), min(width, old.shape[1])
        expected[:rows, :columns] = old.numpy()[:rows, :columns]
        assert np.array_equal(new.numpy(), expected)


def test_official_increments_give_the_same_grid(official_weights):
    # The official rule adds (target - source) // 2**(i + 2) per side.
    for target in (96, 128, 224, 512, 1024):
        weights = convert_to_downstream(official_weights, (target, target))
        for i, value in enumerate(freq_embeds(weights)):
            side = 64 // 4 // 2**i + (target - 64) // 2 ** (i + 2)
            assert value.shape[:2] == (side, side)


def test_bicubic_keeps_the_normalised_frequency(official_weights):
    weights = convert_to_downstream(official_weights, (96, 128), 'bicubic')
    for i, value in enumerate(freq_embeds(official_weights)):
        size = (96 // 4 // 2**i, 128 // 4 // 2**i)
        planes = value.permute(2, 0, 1)[None]
        planes = F.interpolate(planes, size, mode='bicubic')
        expected = planes[0].permute(1, 2, 0)
        torch.testing.assert_close(
            weights[f'freq_embed.{i}'], expected, rtol=0, atol=1e-5
        )


def test_nothing_changes_at_the_same_size(official_weights):
    before = {k: v.clone() for k, v in official_weights.items()}
    weights = change_img_size(official_weights, (64, 64))
    assert all(weights[k] is official_weights[k] for k in official_weights)
    change_img_size(official_weights, (128, 128))
    assert all(torch.equal(official_weights[k], before[k]) for k in before)


def test_classifier_round_trip_is_bit_equal(official_weights):
    renamed = to_mmpretrain(official_weights)
    assert 'backbone.outnorm3.weight' in renamed
    assert renamed['head.fc.bias'].shape == (10,)
    back = to_official(renamed)
    assert list(back) == list(official_weights)
    assert all(back[k] is official_weights[k] for k in back)


@pytest.mark.parametrize(
    'convert',
    [to_mmpretrain, lambda w: convert_to_downstream(w, (64, 64))],
)
@pytest.mark.parametrize('key', ('head.fc.weight', 'layer', 'classifier.1.w'))
def test_unknown_keys_raise(official_weights, convert, key):
    with pytest.raises(CheckpointError, match=f'unknown key {key}'):
        convert({**official_weights, key: torch.ones(1)})


def test_unknown_keys_raise_on_the_way_back(official_weights):
    weights = to_mmpretrain(official_weights)
    with pytest.raises(CheckpointError, match='unknown key neck.conv'):
        to_official({**weights, 'neck.conv': torch.ones(1)})


def test_classifier_keeps_its_head_from_either_naming(
    tmp_path, official_weights
):
    for name, weights in (
        ('official', {'model': official_weights}),
        ('mmpretrain', {'state_dict': to_mmpretrain(official_weights)}),
    ):
        torch.save(weights, tmp_path / name)
        checkpoint = read_checkpoint(tmp_path / name)
        converted = convert_checkpoint(checkpoint, (64, 64), task='cls')
        expected = to_mmpretrain(official_weights)
        assert converted.keys() == expected.keys()
        assert all(torch.equal(converted[k], expected[k]) for k in expected)


def test_head_that_is_not_there(tmp_path, official_weights):
    weights = dict(official_weights)
    del weights['classifier.0.bias']
    torch.save(weights, tmp_path / 'f')
    with pytest.raises(CheckpointError, match='classifier.0.bias missing'):
        convert_checkpoint(
            read_checkpoint(tmp_path / 'f'), (64, 64), task='cls'
        )
    weights = convert_to_downstream(official_weights, (64, 64))
    torch.save(weights, tmp_path / 'f')
    with pytest.raises(CheckpointError, match='no classifier to keep'):
        convert_checkpoint(
            read_checkpoint(tmp_path / 'f'), (64, 64), task='cls'
        )


def test_image_too_small_for_the_last_stage(official_weights):
    with pytest.raises(CheckpointError, match='at least 32'):
        convert_to_downstream(official_weights, (31, 64))
