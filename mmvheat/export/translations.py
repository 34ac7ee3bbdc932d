"""The operators of detectors by standard operators of ONNX.

``NonMaxSuppression`` and ``RoiAlign``, whose results are put back in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from onnxscript import opset20 as op

from . import operators  # noqa: F401 (registers torch.ops.mmvheat)


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
