"""What a config from a stranger may ask for.

A config is code: OpenMMLab's libraries import what a ``type`` names, evaluate
``nms.type`` (``mmcv.ops.batched_nms``), unpickle the file that
``class_weight`` names (mmseg's losses) and import a package by ``_scope_``. So
nothing reaches them but the types of this package's own configs, and words,
which are neither paths, addresses nor expressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import ConfigDict

from mmvheat.commands.config import innermost_dataset
from mmvheat.errors import UserError

_WORD = re.compile(r'[\w-]*')
_SCOPES = ('mmdet', 'mmseg', 'mmpretrain', 'mmengine', 'mmvheat')
_INITIAL = ('init_cfg', 'pretrained')  # the weights are in the folder
TYPES = frozenset(
    """
    AddGaussianNoise AnchorGenerator BBoxL1Cost BN BatchFixedSizePad
    CascadeRCNN CascadeRoIHead CenterCrop ChannelMapper ClassificationCost
    ClsDataPreprocessor CrossEntropyLoss CrossEntropyLossCost CutMix DINO
    DINOHead DampedWavePropagator DeltaXYWHBBoxCoder DetDataPreprocessor
    DiceCost DiceLoss EncoderDecoder FCNHead FCNMaskHead FPN FPNHead
    FasterRCNN FocalLoss FocalLossCost FractionalHeatPropagator GELU
    GIoULoss GN GlobalAveragePooling HeatPropagator HungarianAssigner
    ImageClassifier ImageRestorer IoUCost L1Loss LN LabelSmoothLoss
    LinearClsHead LoadAnnotations LoadImageFromFile LoadPhotograph
    MMDET_VHEAT MMSEG_VHEAT MSDeformAttnPixelDecoder Mask2Former
    Mask2FormerHead MaskFormerFusionHead MaskPseudoSampler MaskRCNN
    MaxIoUAssigner Mixup PackDetInputs PackInputs PackRestoration
    PackSegInputs PseudoSampler RPNHead RandomSampler ReLU Resize
    ResizeEdge RetinaHead RetinaNet RoIAlign SegDataPreProcessor
    SegformerHead Shared2FCBBoxHead SingleRoIExtractor SmoothL1Loss
    StandardRoIHead SwinTransformer SyncBN TailPropagator UPerHead nms
    soft_nms vHeat vHeatIR
    """.split()  # noqa: SIM905
)
"""The types that a snapshot may name: those of this package's configs."""


def choose_trusted(cfg: ConfigDict, source: Path) -> dict[str, Any]:
    """Choose what predictions need of a config, and check it.

    Args:
        cfg (ConfigDict): The config.
        source (Path): Its file, for messages.

    Returns:
        dict[str, Any]: ``model``, ``default_scope`` and the test pipeline,
        where libraries look for them.

    Raises:
        UserError: They hold what could run code.
    """
    scope = cfg.get('default_scope')
    if scope not in _SCOPES:
        raise _refusal(source, 'default_scope', scope)
    chosen = dict(default_scope=scope, model=drop_initial(cfg.model))
    try:
        pipeline = innermost_dataset(cfg.test_dataloader.dataset).pipeline
    except (AttributeError, TypeError):
        pipeline = []
    _check(chosen, source)
    _check(pipeline, source)
    chosen['test_pipeline'] = pipeline
    chosen['test_dataloader'] = dict(dataset=dict(pipeline=pipeline))
    return chosen


def _check(value: Any, source: Path, key: str = '') -> None:
    """Refuse what libraries could take for code or for a file."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check(item, source, name)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, source, key)
    elif key == 'type':
        scope, _, name = str(value).rpartition('.')
        if name not in TYPES or scope not in ('', *_SCOPES):
            raise _refusal(source, key, value)
    elif isinstance(value, str):
        known = (
            value in _SCOPES if key == '_scope_' else _WORD.fullmatch(value)
        )
        if not known or key == 'class_weight':
            raise _refusal(source, key, value)


def _refusal(source: Path, key: str, value: Any) -> UserError:
    return UserError(
        f'{source} is refused because of {key}={str(value)[:80]!r}, which no '
        'config of mmvheat has and which could run code; nothing of it was '
        'executed. If you trust its author, load it with '
        'trust_remote_code=True.'
    )


def drop_initial(value: Any) -> Any:
    """Drop what says where initial weights come from."""
    if isinstance(value, Mapping):
        return {
            key: drop_initial(item)
            for key, item in value.items()
            if key not in _INITIAL
        }
    if isinstance(value, (list, tuple)):
        return type(value)(map(drop_initial, value))
    return value
