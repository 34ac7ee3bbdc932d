"""Painting single digits."""

import numpy as np
import pytest

from mmvheat.datasets.digit_painting import (
    crop_photo,
    find_box,
    paint_scene,
    upscale_digit,
)

RING = np.zeros((8, 8), np.uint8)
RING[0:8, 2:7] = 255
RING[2:6, 4:5] = 0


def test_upscaled_digit_keeps_its_shape_at_every_size():
    """The thresholded stroke is the nearest-neighbour one, up to its rim."""
    for side in (28, 53, 80):
        alpha = upscale_digit(RING, side)
        h, w = alpha.shape
        assert h == pytest.approx(side, abs=0.08 * side + 3)
        assert alpha[h // 2, w // 2] < 64, 'the hole is closed'
        assert alpha[h // 2, w // 6] > 192, 'the stroke is broken'


def test_find_box_agrees_with_its_pixels():
    mask = np.zeros((20, 30), bool)
    mask[4, 7] = mask[11, 22] = True
    assert find_box(mask) == (4, 7, 8, 16)


def test_crops_are_darker_cuts_of_the_photos_given():
    rng = np.random.default_rng(0)
    red, blue = np.zeros((90, 70, 3), 'u1'), np.zeros((80, 99, 3), 'u1')
    red[..., 0] = blue[..., 2] = 200
    seen = set()
    for _ in range(20):
        crop = crop_photo(rng, [red, blue], 64)
        assert crop.shape == (64, 64, 3)
        assert 0 < crop.max() < 200
        seen.add(tuple(np.flatnonzero(crop.any((0, 1)))))
    assert seen == {(0,), (2,)}


def test_digit_that_finds_no_room_shrinks():
    rng = np.random.default_rng(0)
    photos = [np.full((200, 200, 3), 90, np.uint8)]
    _, painted = paint_scene(rng, photos, RING[None], [0] * 5, 128, (28, 100))
    assert len(painted) == 5
    assert not np.any(sum(d.mask.astype(int) for d in painted) > 1)


def test_mask_is_where_the_ink_covers_more_than_half():
    """On an even photo brightness grows from its level to the ink's."""
    rng = np.random.default_rng(3)
    photo = np.full((200, 200, 3), 90, np.uint8)
    picture, painted = paint_scene(rng, [photo], RING[None], [0], 64, (28, 56))
    ground = picture[0, 0].astype(int)
    change = np.abs(picture - ground).max(-1)
    mask = painted[0].mask
    assert mask.any()
    assert change[mask].min() >= 0.4 * change.max()
    assert change[~mask].max() <= 0.6 * change.max()
