"""The two operators of detectors that torch has not.

A program records them by name. Here mmcv computes them; for what they are in
an ONNX file see ``translations``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmvheat.errors import require_torch_2_6

require_torch_2_6('export')


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
    # len() would make the number a constant of the program.
    return feats[0].new_empty(rois.shape[0], feats[0].shape[1], size, size)
