"""Truth and predictions of scenes, side by side."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmvheat.visualization.scenes import (
    draw_scenes,
    pack_instances,
    read_label_map,
)

MASKS = np.zeros((2, 32, 32), np.uint8)
MASKS[0, 4:12, 2:20] = MASKS[1, 20:30, 5:9] = 1


@pytest.fixture
def items() -> list[dict]:
    """A 2 and a 9 of scene 7, in the format of COCO."""
    items = []
    for category, mask in zip((3, 10), MASKS):
        rle = coco_mask.encode(np.asfortranarray(mask))
        counts = rle['counts'].decode()
        items.append(
            dict(
                image_id=7,
                category_id=category,
                bbox=coco_mask.toBbox(rle).tolist(),
                segmentation=dict(rle, counts=counts),
            )
        )
    return items


def test_instances_are_enlarged_with_the_image(items):
    image = np.zeros((64, 64, 3), np.uint8)
    truth = pack_instances(items, 7, image)
    assert truth.labels.tolist() == [2, 9]
    assert 'scores' not in truth
    assert truth.bboxes.tolist() == [[4, 8, 40, 24], [10, 40, 18, 60]]
    assert truth.masks.sum((1, 2)).tolist() == [4 * 144, 4 * 40]
    found = [dict(items[1], score=0.75), dict(items[0], image_id=8, score=1)]
    assert pack_instances(found, 7, image).scores.tolist() == [0.75]


def test_scene_without_predictions():
    picture = np.zeros((6, 8, 3), np.uint8)
    instances = pack_instances([], 0, picture)
    assert instances.bboxes.shape == (0, 4)
    assert instances[instances.scores > 0.5].masks.shape == (0, 6, 8)


def test_background_of_a_label_map_is_not_painted(tmp_path):
    cv2.imwrite(str(tmp_path / 'map.png'), 3 * MASKS[0])
    labels = read_label_map(tmp_path / 'map.png').data[0].numpy()
    assert (labels[8:24, 4:40] == 3).all()
    assert (labels != 255).sum() == 4 * 144


def test_scenes_are_drawn_with_truth_beside_prediction(items, tmp_path):
    for folder in ('annotations', 'val', 'label_maps/val', 'found'):
        (tmp_path / folder).mkdir(parents=True)
    truth, found = tmp_path / 'annotations/instances_val.json', tmp_path / 'f'
    truth.write_text(json.dumps(dict(annotations=items)))
    found.write_text(json.dumps([dict(items[1], score=0.75)]))
    empty = np.zeros_like(MASKS[0])
    for path, labels in (
        ('val/000007.jpg', empty),
        ('label_maps/val/000007.png', 3 * MASKS[0]),
        ('found/000007.png', empty),
    ):
        cv2.imwrite(str(tmp_path / path), labels)
    meta = dict(
        classes=['background', *'0123456789'],
        palette=[[0, 0, 0], *[[20 * n, 255, 0] for n in range(10)]],
    )
    out = tmp_path / 'out.png'
    draw_scenes([7], tmp_path, found, tmp_path / 'found', meta, out)
    panels = np.split(cv2.imread(str(out)).astype(int), 4, axis=1)
    green = [int((p[..., 1] > p[..., 0] + 50).sum()) for p in panels]
    assert green[0] > green[1] > 0  # both digits, one digit
    assert green[2] > green[3] == 0  # one digit, none
