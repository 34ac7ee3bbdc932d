# Detection: Mask R-CNN with a narrow vHeat finds and outlines the digits of a
# scene, starting from the classifier's weights.
# Measured: box AP 76.8, mask AP 77.9 on the scenes of val.
#
#   python interpolate4downstream.py --pt_size 64 --tg_size 192 \
#       --pt_pth work_dirs/vheat-n_12e_digit-crops-64x64/epoch_12.pth \
#       --tg_pth work_dirs/quickstart/vheat-n_digits-192.pth
#   python tools/train.py \
#       configs/quickstart/mask-rcnn_vheat-n_fpn_2e_digit-scenes.py
#
# For your own data in COCO format: `data_root`, `metainfo` and `num_classes`
# (it stands in two heads).
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/runtime.py',
]

# --- data -----------------------------------------------------------------
dataset_type = 'CocoDataset'
data_root = 'data/digit_scenes/'
metainfo = dict(classes=tuple('0123456789'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
        ),
    ),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        metainfo=metainfo,
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        metainfo=metainfo,
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + 'annotations/instances_val.json',
    metric=['bbox', 'segm'],
)
test_evaluator = val_evaluator

# --- model: vHeat 32-64-128-256, neck and heads of 64 channels ------------
model = dict(
    backbone=dict(
        _delete_=True,
        type='vHeat',
        arch=dict(
            embed_dims=32,
            depths=(1, 1, 2, 1),
            post_norm=False,
            layer_scale=None,
        ),
        img_size=192,
        drop_path_rate=0.05,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/quickstart/vheat-n_digits-192.pth',
        ),
    ),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        # Of few objects, all classes teach one box and one mask.
        bbox_head=dict(
            in_channels=64,
            fc_out_channels=256,
            num_classes=10,
            reg_class_agnostic=True,
        ),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(
            num_convs=2,
            in_channels=64,
            conv_out_channels=64,
            num_classes=10,
            class_agnostic=True,
        ),
    ),
    # Small images have few places: fewer proposals are enough.
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.25)),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=300, max_per_img=100),
        rcnn=dict(max_per_img=20),
    ),
)

# --- schedule: 2 epochs, batch 4, AdamW 1e-3, warm-up, cosine -------------
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, T_max=400),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    _base_.vheat_hooks,
    logger=dict(interval=25),
    checkpoint=dict(
        interval=1, max_keep_ckpts=1, backend_args=dict(backend='atomic')
    ),
)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=4)
