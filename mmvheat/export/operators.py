"""The two operators of detectors that torch has not, and their ONNX form.

A program records them by name. Here mmcv computes them; in an ONNX file they
are ``NonMaxSuppression`` and ``RoiAlign``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from onnxscript import opset20 as op
from torch import Tensor


@torch.library.custom_op('mmvheat::keep_boxes', mutates_args=())
def keep_boxes(
    boxes: Tensor, scores: Tensor, iou_thr: float, score_thr: float
) -> Tensor:
    """Mark the boxes that greedy suppression keeps, group by group.

    Args:
        boxes (Tensor): Corners x1, y1, x2, y2, shape (G, N, 4).
        scores (Tensor): Shape (G, N).
        iou_thr (float): Overlap above which the lower score is suppressed.
        score_thr (float): Scores must be above it.

    Returns:
        Tensor: Which are kept, bool, shape (G, N).
    """
    from mmcv.ops import nms

    kept = torch.zeros_like(scores, dtype=torch.bool)
    for group, (corners, values) in enumerate(zip(boxes, scores)):
        (above,) = torch.where(values > score_thr)
        if len(above):
            _, index = nms(corners[above], values[above], iou_thr)
            kept[group, above[index]] = True
    return kept


@keep_boxes.register_fake
def _(boxes: Tensor, scores: Tensor, iou_thr: float, score_thr: float):
    return torch.empty_like(scores, dtype=torch.bool)


@torch.library.custom_op('mmvheat::pool_regions', mutates_args=())
def pool_regions(
    feats: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    strides: Sequence[int],
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pool every region from its level of a feature pyramid, by RoIAlign.

    Args:
        feats (list[Tensor]): Features, shape (B, C, H / stride, W / stride).
        rois (Tensor): Image index and corners in pixels, shape (R, 5).
        levels (Tensor): Level of every region, int64, shape (R,).
        strides (list[int]): Stride of every level.
        size (int): Cells of a pooled side.
        sampling_ratio (int): Samples of a cell's side; 0 adapts it.
        aligned (bool): Whether a pixel's centre is at a half.

    Returns:
        Tensor: Shape (R, C, size, size).
    """
    from mmcv.ops import roi_align

    pooled = feats[0].new_zeros(len(rois), feats[0].shape[1], size, size)
    for level, (feat, stride) in enumerate(zip(feats, strides)):
        (index,) = torch.where(levels == level)
        if len(index):
            pooled[index] = roi_align(
                feat,
                rois[index],
                (size, size),
                1 / stride,
                sampling_ratio,
                'avg',
                aligned,
            )
    return pooled


@pool_regions.register_fake
def _(feats, rois, levels, strides, size, sampling_ratio, aligned):
    return feats[0].new_empty(len(rois), feats[0].shape[1], size, size)


def _constant(value: int | float | list[int]):
    if isinstance(value, float):
        return op.Constant(value_floats=[value])
    if isinstance(value, int):
        return op.Constant(value_int=value)
    return op.Constant(value_ints=value)


def _keep_boxes_onnx(boxes, scores, iou_thr: float, score_thr: float):
    kept = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, _constant([1])),
        _constant([2**31 - 1]),
        _constant(iou_thr),
        _constant(score_thr),
    )
    where = op.Gather(kept, _constant([0, 2]), axis=1)  # group, box
    count = op.Slice(op.Shape(kept), _constant([0]), _constant([1]))
    ones = op.Expand(_constant(1.0), count)
    zeros = op.ConstantOfShape(op.Shape(scores))
    return op.Cast(op.ScatterND(zeros, where, ones), to=9)  # bool


def _pool_regions_onnx(
    feats,
    rois,
    levels,
    strides: Sequence[int],
    size: int,
    sampling_ratio: int,
    aligned: bool,
):
    images = op.Cast(op.Gather(rois, _constant(0), axis=1), to=7)  # int64
    corners = op.Gather(rois, _constant([1, 2, 3, 4]), axis=1)
    pooled, order = [], []
    for level, (feat, stride) in enumerate(zip(feats, strides)):
        index = op.Squeeze(
            op.NonZero(op.Equal(levels, _constant(level))), _constant([0])
        )
        order.append(index)
        pooled.append(
            op.RoiAlign(
                feat,
                op.Gather(corners, index),
                op.Gather(images, index),
                mode='avg',
                coordinate_transformation_mode='half_pixel'
                if aligned
                else 'output_half_pixel',
                output_height=size,
                output_width=size,
                sampling_ratio=sampling_ratio,
                spatial_scale=1 / stride,
            )
        )
    order = op.Concat(*order, axis=0)
    count = op.Squeeze(op.Shape(order), _constant([0]))
    places = op.Range(_constant(0), count, _constant(1))
    inverse = op.ScatterElements(order, order, places)
    return op.Gather(op.Concat(*pooled, axis=0), inverse)


TRANSLATIONS = {
    torch.ops.mmvheat.keep_boxes.default: _keep_boxes_onnx,
    torch.ops.mmvheat.pool_regions.default: _pool_regions_onnx,
}
