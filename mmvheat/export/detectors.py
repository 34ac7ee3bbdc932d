"""Detectors of mmdet as programs whose sizes are fixed.

mmdet lets the number of boxes shrink at every step. Here it stays: a step
takes the best by score, and what a threshold or suppression drops gets the
score -1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvheat.errors import UserError

from . import operators  # noqa: F401 (registers torch.ops.mmvheat)
from .programs import Program

_DROPPED = -1.0


class Detector(Program):
    """Boxes (B, N, 4), scores (B, N), labels (B, N) and perhaps masks.

    Boxes are corners x1, y1, x2, y2 in pixels of the input, best first; where
    there are fewer than N, the rest has score 0, label -1 and no extent. Masks
    are probabilities in the boxes, (B, N, 28, 28), or pasted, uint8, (B, N, H,
    W).

    Args:
        model (nn.Module): A detector of mmdet.
        half (bool): As of :class:`Program`.
        paste_masks (bool): Paste masks. Defaults to False.
    """

    task, outputs = 'detection', ('boxes', 'scores', 'labels')

    def __init__(
        self, model: nn.Module, half: bool = False, paste_masks: bool = False
    ) -> None:
        super().__init__(model, half)
        self.paste_masks = paste_masks
        if getattr(model, 'with_mask', False):
            self.outputs = (*self.outputs, 'masks')

    def finish(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take the best boxes (B, N, 4) and mark the dropped ones."""
        scores, index = _take_best(scores, count)
        dropped = scores < 0
        return (
            _pick(boxes, index).masked_fill(dropped[..., None], 0),
            scores.clamp(min=0),
            labels.gather(1, index).masked_fill(dropped, -1),
        )


class OneStage(Detector):
    """RetinaNet and others with anchors and one head."""

    def predict(self, x: Tensor, size: tuple[int, int]) -> tuple:
        """Predict boxes."""
        head, cfg = self.model.bbox_head, self.model.bbox_head.test_cfg
        maps = self.run(lambda x: head(self.model.extract_feat(x)), x)
        levels = []
        for cls, deltas, anchors in _list_levels(head, *maps):
            scores = _activate(head, cls)
            classes = scores.shape[-1]
            scores = _drop(scores, scores > cfg.get('score_thr', 0))
            count = cfg.get('nms_pre', -1)
            scores, index = _take_best(scores.flatten(1), count)
            place = index // classes
            boxes = _decode(head, anchors[place], _pick(deltas, place), size)
            levels.append((boxes, scores, index % classes))
        boxes, scores, labels = (torch.cat(x, 1) for x in zip(*levels))
        scores = _drop_small(boxes, scores, cfg)
        # Boxes of different classes are moved apart and suppress none.
        apart = labels * (boxes.max() + 1)
        kept = torch.ops.mmvheat.keep_boxes(
            boxes + apart[..., None], scores, cfg.nms.iou_threshold, 0.0
        )
        return self.finish(boxes, _drop(scores, kept), labels, cfg.max_per_img)


class TwoStage(Detector):
    """Faster, Mask and Cascade R-CNN."""

    def predict(self, x: Tensor, size: tuple[int, int]) -> tuple:
        """Predict boxes, and masks if the model has them."""
        feats = self.run(self.model.extract_feat, x)
        proposals, objectness = self.propose(feats, size)
        found = self.classify(feats, proposals, objectness, size)
        if 'masks' not in self.outputs:
            return found
        return (*found, self.outline(feats, found[0], found[2], size))

    def propose(
        self, feats: tuple[Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Propose regions: boxes (B, P, 4) and scores (B, P)."""
        head, cfg = self.model.rpn_head, self.model.rpn_head.test_cfg
        levels = []
        for cls, deltas, anchors in _list_levels(head, *self.run(head, feats)):
            scores, index = _take_best(
                _activate(head, cls)[..., 0], cfg.get('nms_pre', -1)
            )
            boxes = _decode(head, anchors[index], _pick(deltas, index), size)
            scores = _drop_small(boxes, scores, cfg)
            kept = torch.ops.mmvheat.keep_boxes(
                boxes, scores, cfg.nms.iou_threshold, 0.0
            )
            levels.append((boxes, _drop(scores, kept)))
        boxes, scores = (torch.cat(x, 1) for x in zip(*levels))
        scores, index = _take_best(scores, cfg.max_per_img)
        return _pick(boxes, index), scores

    def classify(
        self,
        feats: tuple[Tensor],
        boxes: Tensor,
        objectness: Tensor,
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Classify and refine proposals (B, P, 4), in one stage or more."""
        roi_head, cfg = self.model.roi_head, self.model.roi_head.test_cfg
        heads = _as_list(roi_head.bbox_head)
        extractors = _as_list(roi_head.bbox_roi_extractor)
        total = 0
        for stage, (head, extractor) in enumerate(zip(heads, extractors)):
            logits, deltas = self.run(head, _pool(extractor, feats, boxes))
            logits = logits.unflatten(0, boxes.shape[:2])
            deltas = deltas.unflatten(0, boxes.shape[:2])
            deltas = deltas.unflatten(2, (-1, 4))  # (B, P, K or 1, 4)
            total = total + logits
            if stage < len(heads) - 1:
                deltas = _of_class(deltas, logits[..., :-1].argmax(-1))
                boxes = _decode(head, boxes, deltas, size)
        scores = (total / len(heads)).softmax(-1)[..., :-1]
        kept = (scores > cfg.score_thr) & (objectness >= 0)[..., None]
        scores = _drop(scores, kept).transpose(1, 2)  # (B, K, P)
        boxes = boxes[:, :, None].expand(-1, -1, deltas.shape[2], -1)
        boxes = _decode(head, boxes, deltas, size).transpose(1, 2)
        boxes = boxes.expand(-1, scores.shape[1], -1, -1)  # (B, K, P, 4)
        kept = torch.ops.mmvheat.keep_boxes(
            boxes.flatten(0, 1),
            scores.flatten(0, 1),
            cfg.nms.iou_threshold,
            0.0,
        )
        scores = _drop(scores, kept.reshape(scores.shape))
        labels = torch.arange(scores.shape[1])[:, None].expand_as(scores)
        return self.finish(
            boxes.flatten(1, 2),
            scores.flatten(1),
            labels.flatten(1),
            cfg.max_per_img,
        )

    def outline(
        self,
        feats: tuple[Tensor],
        boxes: Tensor,
        labels: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Outline what is in boxes (B, N, 4) of classes (B, N)."""
        roi_head = self.model.roi_head
        heads = _as_list(roi_head.mask_head)
        extractors = _as_list(roi_head.mask_roi_extractor)
        total = 0
        for head, extractor in zip(heads, extractors):
            logits = self.run(head, _pool(extractor, feats, boxes))
            total = total + logits.sigmoid()
        masks = (total / len(heads)).unflatten(0, boxes.shape[:2])
        label = labels.clamp(min=0)
        if masks.shape[2] == 1:
            label = label * 0
        index = label[..., None, None, None].expand(
            -1, -1, 1, *masks.shape[3:]
        )
        masks = masks.gather(2, index)[:, :, 0]
        if not self.paste_masks:
            return masks
        threshold = roi_head.test_cfg.mask_thr_binary
        return (_paste(masks, boxes, size) >= threshold).to(torch.uint8)


def build_detector(
    model: nn.Module, half: bool = False, paste_masks: bool = False
) -> Detector:
    """Wrap a detector.

    Args:
        model (nn.Module): A detector of mmdet.
        half (bool): See :class:`Program`. Defaults to False.
        paste_masks (bool): See :class:`Detector`. Defaults to False.

    Returns:
        Detector: The program.

    Raises:
        UserError: There is no program for such a detector.
    """
    from mmdet.models import dense_heads, roi_heads

    if type(getattr(model, 'bbox_head', None)) in (
        dense_heads.AnchorHead,
        dense_heads.RetinaHead,
    ):
        _check_settings(model.bbox_head, model.bbox_head.test_cfg.nms)
        return OneStage(model, half, paste_masks)
    known = (roi_heads.StandardRoIHead, roi_heads.CascadeRoIHead)
    if type(getattr(model, 'roi_head', None)) in known:
        head = model.roi_head
        for part in _as_list(head.bbox_head):
            _check_settings(part, head.test_cfg.nms)
        _check_settings(model.rpn_head, model.rpn_head.test_cfg.nms)
        for extractor in _as_list(head.bbox_roi_extractor):
            if type(extractor) is not roi_heads.SingleRoIExtractor:
                raise _unknown(type(extractor).__name__, 'SingleRoIExtractor')
        return TwoStage(model, half, paste_masks)
    raise _unknown(
        f'The detector {type(model).__name__}',
        'RetinaNet, Faster R-CNN, Mask R-CNN and Cascade R-CNN',
    )


def _check_settings(head: nn.Module, nms: dict) -> None:
    if nms.get('type', 'nms') != 'nms':
        raise _unknown(f'The suppression {nms["type"]}', 'nms')
    if type(head.bbox_coder).__name__ != 'DeltaXYWHBBoxCoder':
        raise _unknown(type(head.bbox_coder).__name__, 'DeltaXYWHBBoxCoder')


def _unknown(name: str, known: str) -> UserError:
    return UserError(
        f'{name} has no program to export; known are {known}, so export the '
        'backbone alone with --backbone.'
    )


def _as_list(part: nn.Module) -> list[nn.Module]:
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def _list_levels(head: nn.Module, cls: tuple, deltas: tuple) -> list[tuple]:
    """List logits (B, N, K), deltas (B, N, 4) and anchors (N, 4) of levels."""
    anchors = head.prior_generator.grid_priors(
        [level.shape[-2:] for level in cls], device=cls[0].device
    )

    def flatten(x: Tensor, values: int) -> Tensor:
        """Flatten (B, A * values, H, W) to (B, H * W * A, values)."""
        x = x.permute(0, 2, 3, 1).unflatten(-1, (-1, values))
        return x.flatten(1, 3)

    return [
        (flatten(logits, head.cls_out_channels), flatten(delta, 4), anchor)
        for logits, delta, anchor in zip(cls, deltas, anchors)
    ]


def _activate(head: nn.Module, logits: Tensor) -> Tensor:
    if head.use_sigmoid_cls:
        return logits.sigmoid()
    return logits.softmax(-1)[..., :-1]


def _take_best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Take the best ``count`` of scores (B, N), all if it is not positive."""
    places = scores.shape[1]
    if isinstance(places, int):
        return scores.topk(min(count, places) if count > 0 else places)
    # There may be fewer than count places, but a program's count is fixed.
    scores, index = F.pad(scores, (0, count), value=_DROPPED).topk(count)
    return scores, index.clamp(max=places - 1)


def _pick(values: Tensor, index: Tensor) -> Tensor:
    """Pick the rows ``index`` (B, M) of values (B, N, D)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def _of_class(deltas: Tensor, label: Tensor) -> Tensor:
    """Pick deltas (B, P, K or 1, 4) of labels (B, P)."""
    if deltas.shape[2] == 1:
        return deltas[:, :, 0]
    index = label[..., None, None].expand(-1, -1, 1, 4)
    return deltas.gather(2, index)[:, :, 0]


def _drop(scores: Tensor, kept: Tensor) -> Tensor:
    return torch.where(kept, scores, _DROPPED)


def _drop_small(boxes: Tensor, scores: Tensor, cfg: dict) -> Tensor:
    least = cfg.get('min_bbox_size', -1)
    if least < 0:
        return scores
    return _drop(scores, ((boxes[..., 2:] - boxes[..., :2]) > least).all(-1))


def _decode(
    head: nn.Module, boxes: Tensor, deltas: Tensor, size: tuple[int, int]
) -> Tensor:
    """Decode deltas (..., 4) of boxes, clipped to the image."""
    decoded = head.bbox_coder.decode(
        boxes.reshape(-1, 4), deltas.reshape(-1, 4), max_shape=size
    )
    return decoded.reshape(deltas.shape)


def _pool(extractor: nn.Module, feats: tuple[Tensor], boxes: Tensor) -> Tensor:
    """Pool boxes (B, N, 4), as (B * N, C, size, size)."""
    batch, count = boxes.shape[:2]
    image = torch.arange(batch, dtype=boxes.dtype)[:, None, None]
    rois = torch.cat([image.expand(-1, count, -1), boxes], -1).flatten(0, 1)
    layers = extractor.roi_layers
    feats = list(feats[: len(layers)])
    levels = extractor.map_roi_levels(rois, len(feats))
    return torch.ops.mmvheat.pool_regions(
        feats,
        rois,
        levels,
        extractor.featmap_strides,
        layers[0].output_size[0],
        layers[0].sampling_ratio,
        layers[0].aligned,
    )


def _paste(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Paste masks (B, N, h, w) in boxes into images, as (B, N, H, W)."""

    def weigh(low: Tensor, high: Tensor, side: int, cells: int) -> Tensor:
        """Weights (B, N, side, cells) of a linear interpolation."""
        place = torch.arange(side, dtype=low.dtype) + 0.5
        extent = (high - low).clamp(min=1e-6)[..., None]
        place = (place - low[..., None]) / extent * cells - 0.5
        cell = torch.arange(cells, dtype=low.dtype)
        return (1 - (place[..., None] - cell).abs()).clamp(min=0)

    x1, y1, x2, y2 = boxes.unbind(-1)
    rows = weigh(y1, y2, size[0], masks.shape[2])
    columns = weigh(x1, x2, size[1], masks.shape[3])
    return rows @ masks @ columns.transpose(-1, -2)
