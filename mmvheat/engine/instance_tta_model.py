"""Test-time augmentation of detectors with masks."""

from __future__ import annotations

import torch
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor


@MODELS.register_module()
class InstanceTTAModel(BaseTTAModel):
    """Merge the boxes and masks found in flipped and resized views.

    mmdet's ``DetTTAModel`` takes boxes alone. Here the instances of all
    views are put together in the original image, duplicates are removed by
    NMS on their boxes, and what is kept keeps its mask.

    Args:
        tta_cfg (dict): ``nms`` (a config of ``mmcv.ops.batched_nms``) and
            ``max_per_img`` (int).
        **kwargs: Arguments of ``BaseTTAModel``: ``module`` and
            ``data_preprocessor``.
    """

    def __init__(self, tta_cfg: dict, **kwargs) -> None:
        super().__init__(**kwargs)
        self.tta_cfg = tta_cfg

    def merge_preds(
        self, data_samples_list: list[list[BaseDataElement]]
    ) -> list[BaseDataElement]:
        """Merge the views of each image.

        Args:
            data_samples_list (list[list[BaseDataElement]]): Per image the
                predictions of its views, in coordinates of the view resized
                to the original shape.

        Returns:
            list[BaseDataElement]: One prediction per image.
        """
        return [self._merge_views(views) for views in data_samples_list]

    def _merge_views(self, views: list[BaseDataElement]) -> BaseDataElement:
        from mmcv.ops import batched_nms  # not in mmcv-lite

        found = InstanceData.cat([_unflip(view) for view in views])
        merged = views[0]
        if len(found):
            _, keep = batched_nms(
                found.bboxes, found.scores, found.labels, self.tta_cfg['nms']
            )
            found = found[keep[: self.tta_cfg['max_per_img']]]
        merged.pred_instances = found
        return merged


def _unflip(view: BaseDataElement) -> InstanceData:
    """The instances of a view in the coordinates of the original image."""
    instances = view.pred_instances
    if not view.metainfo.get('flip', False):
        return instances
    height, width = view.ori_shape[:2]
    direction = view.flip_direction
    boxes, masks = instances.bboxes, instances.get('masks')
    if direction in ('horizontal', 'diagonal'):
        boxes = _mirror(boxes, width, 0)
        masks = None if masks is None else masks.flip(-1)
    if direction in ('vertical', 'diagonal'):
        boxes = _mirror(boxes, height, 1)
        masks = None if masks is None else masks.flip(-2)
    restored = InstanceData(
        bboxes=boxes, scores=instances.scores, labels=instances.labels
    )
    if masks is not None:
        restored.masks = masks
    return restored


def _mirror(boxes: Tensor, length: float, axis: int) -> Tensor:
    """Mirror boxes (N, 4), x1 y1 x2 y2, along ``axis`` of ``length``."""
    mirrored = torch.clone(boxes)
    mirrored[:, axis] = length - boxes[:, axis + 2]
    mirrored[:, axis + 2] = length - boxes[:, axis]
    return mirrored
