"""Painted predictions: colours, places and sizes can be measured."""

from __future__ import annotations

import numpy as np
import pytest

from mmvheat.visualization import (
    enlarge,
    montage,
    paint_detection,
    paint_segmentation,
)

RED, GREEN = (250, 0, 0), (0, 250, 0)
GRAY = np.full((120, 160, 3), 100, np.uint8)


def changed(picture: np.ndarray, before: np.ndarray) -> np.ndarray:
    return (picture != before).any(2)


@pytest.fixture
def two_digits() -> dict:
    masks = np.zeros((2, 120, 160), bool)
    masks[0, 40:80, 20:50] = masks[1, 50:110, 100:140] = True
    return dict(
        boxes=np.array([[20, 40, 50, 80], [100, 50, 140, 110]]),
        labels=np.array([0, 1]),
        masks=masks,
        palette=[RED, GREEN],
    )


@pytest.mark.parametrize('scale', [1, 3])
def test_every_instance_has_the_colour_of_its_class(two_digits, scale):
    picture = paint_detection(GRAY, **two_digits, scale=scale)
    assert picture.shape == (120 * scale, 160 * scale, 3)
    assert picture.dtype == np.uint8
    first, second = (
        picture[70 * scale, 35 * scale],
        picture[90 * scale, 120 * scale],
    )
    assert first[0] > 150 > first[1]
    assert second[1] > 150 > second[0]
    assert (picture[20 * scale, 150 * scale] == 100).all()


def test_boxes_lie_where_they_should(two_digits):
    two_digits['masks'] = None
    touched = changed(paint_detection(GRAY, **two_digits), GRAY)
    for x1, y1, x2, y2 in two_digits['boxes']:
        assert touched[y1 : y2 + 1, [x1, x2]].all()
        assert touched[[y1, y2], x1 : x2 + 1].all()
        assert not touched[y1 + 5 : y2 - 5, x1 + 5 : x2 - 5].any()


def test_names_and_scores_are_written_above_the_box(two_digits):
    def written(**options) -> int:
        picture = paint_detection(GRAY, **two_digits, **options)
        return int((picture[20:38] < 60).all(2).sum())

    assert 0 < written() < written(scores=[0.9, 0.8])
    assert written() < written(classes=['a long name', 'b'])


def test_an_image_without_instances_stays_as_it_is():
    empty = paint_detection(GRAY, [], [], np.zeros((0, 120, 160)), [], 'ab')
    np.testing.assert_array_equal(empty, GRAY)
    blank = paint_segmentation(GRAY, np.zeros((120, 160), int), [RED], 'a')
    np.testing.assert_array_equal(blank, GRAY)


def test_painting_leaves_its_input_alone(two_digits):
    image = GRAY.copy()
    paint_detection(image, **two_digits)
    paint_segmentation(image, two_digits['masks'][0], [RED, GREEN], 'ab')
    np.testing.assert_array_equal(image, GRAY)


def test_segmentation_tints_classes_and_spares_background_and_ignored():
    label_map = np.zeros((120, 160), np.uint8)
    label_map[40:80, 20:50], label_map[50:110, 100:140] = 1, 255
    picture = paint_segmentation(GRAY, label_map, [RED, GREEN])
    np.testing.assert_array_equal(changed(picture, GRAY), label_map == 1)
    assert picture[60, 35, 1] > 150 > picture[60, 35, 0]
    all_painted = paint_segmentation(
        GRAY, label_map, [RED, GREEN], background=None
    )
    np.testing.assert_array_equal(changed(all_painted, GRAY), label_map != 255)


def test_every_region_is_named_once_unless_it_is_tiny():
    label_map = np.zeros((120, 160), np.uint8)
    label_map[40:60, 20:40] = 1  # two pieces close together: one name
    label_map[63:80, 20:40] = 1
    label_map[90:110, 120:140] = 1
    label_map[60:62, 100:102] = 1  # four pixels
    plain = paint_segmentation(GRAY, label_map, [RED, GREEN])
    named = paint_segmentation(GRAY, label_map, [RED, GREEN], ['', 'cat'])
    text = changed(named, plain)
    assert text[25:40, 15:60].any()
    assert text[67:90, 115:159].any()
    assert not text[44:66].any()


def test_enlarging_keeps_label_values():
    label_map = np.arange(6, dtype=np.uint8).reshape(2, 3)
    large = enlarge(label_map, 4)
    assert large.shape == (8, 12)
    np.testing.assert_array_equal(large[2::4, 2::4], label_map)


def test_montage_places_every_image():
    values = [[10, 20, 30], [40, 50]]
    rows = [
        [np.full((40, 60, 3), value, np.uint8) for value in row]
        for row in values
    ]
    plain = montage(rows, gap=4)
    assert plain.shape == (2 * 44 + 4, 3 * 64 + 4, 3)
    titled = montage(rows, ['image', 'truth', 'found'], gap=4)
    head = titled.shape[0] - plain.shape[0]
    np.testing.assert_array_equal(titled[head:], plain)
    for j in range(3):
        assert (titled[:head, 64 * j : 64 * j + 60] < 100).any(), 'no title'
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            y, x = 4 + 44 * i, 4 + 64 * j
            assert (plain[y : y + 40, x : x + 60] == value).all()
    assert (plain[48:, 132:] == 255).all()


@pytest.mark.parametrize('rows', [[], [[]], [[GRAY, GRAY[:50]]]])
def test_montage_refuses_nothing_and_mixed_sizes(rows):
    with pytest.raises(ValueError, match='images of one size'):
        montage(rows)
