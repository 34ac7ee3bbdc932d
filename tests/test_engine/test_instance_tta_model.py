"""Merging views of an image gives its instances in the original frame."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from mmvheat.engine import InstanceTTAModel

HEIGHT, WIDTH = 20, 30
CONFIG = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=10)


class Module(nn.Module):
    """Anything that can test."""

    def test_step(self, data: dict) -> list:
        """Predict nothing."""
        return []


def _instances(boxes: list, scores: list, labels: list) -> InstanceData:
    """Instances whose masks fill their boxes."""
    masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes):
        mask[y1:y2, x1:x2] = True
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
        scores=torch.tensor(scores, dtype=torch.float),
        labels=torch.tensor(labels, dtype=torch.long),
        masks=masks,
    )


def _view(instances: InstanceData, direction: str | None) -> BaseDataElement:
    """What a perfect detector finds in a flipped image."""
    flips = dict(horizontal=[-1], vertical=[-2], diagonal=[-1, -2])
    masks = instances.masks.flip(flips.get(direction, []))
    flipped = InstanceData(
        bboxes=_boxes_around(masks),
        scores=instances.scores,
        labels=instances.labels,
        masks=masks,
    )
    view = BaseDataElement(
        metainfo=dict(
            ori_shape=(HEIGHT, WIDTH),
            flip=direction is not None,
            flip_direction=direction,
        )
    )
    view.pred_instances = flipped
    return view


def _boxes_around(masks: Tensor) -> Tensor:
    boxes = []
    for mask in masks:
        ys, xs = torch.nonzero(mask, as_tuple=True)
        boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return torch.tensor(boxes, dtype=torch.float).reshape(-1, 4)


def _merge(*views: BaseDataElement, config: dict = CONFIG) -> InstanceData:
    model = InstanceTTAModel(module=Module(), tta_cfg=config)
    (merged,) = model.merge_preds([list(views)])
    return merged.pred_instances


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_flipped_view_of_the_same_instances_adds_nothing(direction) -> None:
    found = _instances([[2, 3, 10, 9], [15, 8, 29, 20]], [0.9, 0.8], [0, 1])
    merged = _merge(_view(found, None), _view(found, direction))
    assert torch.equal(merged.bboxes, found.bboxes)
    assert torch.equal(merged.masks, found.masks)
    assert torch.equal(merged.scores, found.scores)
    assert torch.equal(merged.labels, found.labels)


def test_instance_seen_in_one_view_alone_is_kept() -> None:
    one = _instances([[2, 3, 10, 9]], [0.6], [0])
    other = _instances([[20, 3, 28, 9]], [0.9], [0])
    merged = _merge(_view(one, None), _view(other, 'horizontal'))
    assert merged.bboxes.tolist() == [[20, 3, 28, 9], [2, 3, 10, 9]]
    assert torch.equal(_boxes_around(merged.masks), merged.bboxes)


def test_best_instances_are_kept_up_to_the_limit() -> None:
    found = _instances(
        [[0, 0, 5, 5], [10, 0, 15, 5], [20, 0, 25, 5]],
        [0.1, 0.9, 0.5],
        [0] * 3,
    )
    merged = _merge(_view(found, None), config=dict(CONFIG, max_per_img=2))
    assert merged.scores.tolist() == pytest.approx([0.9, 0.5])


def test_nothing_found_in_any_view() -> None:
    nothing = _instances([], [], [])
    merged = _merge(_view(nothing, None), _view(nothing, 'horizontal'))
    assert len(merged) == 0
