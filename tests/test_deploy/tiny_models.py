"""Tiny models of every kind, untrained, and what their library predicts."""

import copy
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

TESTS = Path(__file__).parents[1]
CONFIG = Config.fromfile(TESTS / 'test_tools/configs/backbone.py')
SMALLEST = dict(_delete_=True, **CONFIG.smallest)
DIMS = [8, 16, 32, 64]
RPN = dict(in_channels=8, feat_channels=8)
BOX = dict(in_channels=8, fc_out_channels=16, num_classes=3)
ROI = dict(out_channels=8)
# So that an untrained model finds as much as it may.
TEST = dict(
    rpn=dict(nms_pre=60, max_per_img=40),
    rcnn=dict(score_thr=0.0, max_per_img=15),
)


def cascade(base):
    heads = [{**head, **BOX} for head in base.model.roi_head.bbox_head]
    return dict(bbox_roi_extractor=ROI, bbox_head=heads)


DETECTORS = {
    'faster-rcnn_r50_fpn': lambda base: dict(
        roi_head=dict(bbox_roi_extractor=ROI, bbox_head=BOX)
    ),
    'mask-rcnn_r50_fpn': lambda base: dict(
        roi_head=dict(
            bbox_roi_extractor=ROI,
            bbox_head=BOX,
            mask_roi_extractor=ROI,
            mask_head=dict(in_channels=8, conv_out_channels=8, num_classes=3),
        )
    ),
    'cascade-rcnn_r50_fpn': lambda base: dict(roi_head=cascade(base)),
    'retinanet_r50_fpn': lambda base: dict(
        bbox_head=dict(in_channels=8, feat_channels=8, num_classes=3)
    ),
}


def read_base(name):
    return Config.fromstring(f'_base_ = {name!r}', '.py')


def build_detector(name, stages=4, levels=5):
    init_default_scope('mmdet')
    cfg = read_base(f'mmdet::_base_/models/{name}.py')
    neck = dict(in_channels=DIMS[:stages], out_channels=8)
    options = dict(backbone=cut_backbone(stages), neck=neck)
    options.update(DETECTORS[name](cfg))
    if 'retinanet' in name:
        options['test_cfg'] = dict(
            nms_pre=60, score_thr=0.0, max_per_img=15, min_bbox_size=0
        )
    else:
        options.update(rpn_head=RPN, test_cfg=TEST)
    cfg.merge_from_dict(copy.deepcopy(dict(model=options)))
    if levels < 5:  # of the pyramid of Mask R-CNN
        strides = [4 * 2**i for i in range(levels)]
        cfg.model.neck.num_outs = levels
        cfg.model.rpn_head.anchor_generator.strides = strides
        for part in ('bbox_roi_extractor', 'mask_roi_extractor'):
            # The last map is for the proposals alone.
            cfg.model.roi_head[part].featmap_strides = strides[:-1]
    # The one stage has a deeper head, whose scores would be 1.
    gain = 0.02 if 'retinanet' in name else 0.06
    return build(cfg.model, gain)


def cut_backbone(stages):
    """Later stages are recorded as the first two are, but take long."""
    return dict(SMALLEST, out_indices=tuple(range(stages)))


def build_segmentor(stages=4):
    init_default_scope('mmseg')
    cfg = read_base('mmseg::_base_/models/upernet_r50.py')
    head = dict(channels=8, num_classes=4, norm_cfg=dict(type='BN'))
    options = dict(
        pretrained=None,
        backbone=cut_backbone(stages),
        decode_head=dict(
            head,
            in_channels=DIMS[:stages],
            in_index=[*range(stages)],
            pool_scales=(1, 2, 3, 6)[:stages],
        ),
        auxiliary_head=dict(
            head, in_channels=DIMS[stages - 2], in_index=stages - 2
        ),
    )
    cfg.merge_from_dict(copy.deepcopy(dict(model=options)))
    return build(cfg.model)


def build_classifier():
    init_default_scope('mmpretrain')
    backbone = {k: v for k, v in SMALLEST.items() if k != '_delete_'}
    return build(
        dict(
            type='ImageClassifier',
            backbone=dict(backbone, out_indices=(3,)),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=64),
            data_preprocessor=dict(
                type='ClsDataPreprocessor',
                mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375],
                to_rgb=True,
            ),
        )
    )


def build(cfg, gain=0.06):
    """Build an untrained model, the same every time, of spread predictions."""
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    torch.manual_seed(0)
    for value in model.parameters():
        if value.dim() > 1:
            value.data += gain * torch.randn_like(value)
    scope = type(model).__module__.split('.')[0]
    model.cfg = Config(dict(model=cfg, default_scope=scope))
    return model.eval().requires_grad_(False)


def make_image(height=96, width=128):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


@torch.no_grad()
def predict(model, image):
    """What the library predicts from an image in RGB."""
    if type(model).__module__.startswith('mmdet'):
        from mmdet.structures import DetDataSample as Sample
    else:
        from mmseg.structures import SegDataSample as Sample
    shape = image.shape[:2]
    sample = Sample(
        metainfo=dict(ori_shape=shape, img_shape=shape, scale_factor=(1, 1))
    )
    bgr = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)
    return model.test_step(dict(inputs=[bgr], data_samples=[sample]))[0]
