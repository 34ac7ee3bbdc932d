# Segmentation: UperNet with a narrow vHeat names the digit under every pixel
# of a scene, starting from the classifier's weights.
# Measured: mIoU 72.2 on the scenes of val, single scale.
#
#   python tools/train.py \
#       configs/quickstart/upernet_vheat-n_750i_digit-scenes-192x192.py
#   bash tools/dist_test.sh \
#       configs/quickstart/upernet_vheat-n_750i_digit-scenes-192x192.py \
#       CHECKPOINT 1 --tta
#
# For your own data in ADE20K format (RGB images, PNG label maps): `data_root`,
# `metainfo` and `num_classes` (it stands in two heads).
_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/runtime.py',
]

# --- data -----------------------------------------------------------------
dataset_type = 'BaseSegDataset'
data_root = 'data/digit_scenes/'
metainfo = dict(
    classes=('background', *'0123456789'),
    palette=[
        [0, 0, 0],
        [230, 25, 75],
        [60, 180, 75],
        [255, 225, 25],
        [0, 130, 200],
        [245, 130, 48],
        [145, 30, 180],
        [70, 240, 240],
        [240, 50, 230],
        [210, 245, 60],
        [250, 190, 212],
    ],
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(192, 192),
        ratio_range=(1.0, 1.25),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=(192, 192)),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
# A mirrored 2 is no digit, so test-time augmentation only changes the scale.
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale_factor=ratio, keep_ratio=True)
                for ratio in (0.75, 1.0, 1.25)
            ],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        metainfo=metainfo,
        data_root=data_root,
        data_prefix=dict(img_path='train', seg_map_path='label_maps/train'),
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
        data_prefix=dict(img_path='val', seg_map_path='label_maps/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

# --- model: vHeat 32-64-128-256, heads of 48 channels ---------------------
norm_cfg = dict(type='BN')
# Nine pixels in ten are background: without weights, a short training would
# not see beyond it.
loss_decode = dict(class_weight=[0.1] + [1.0] * 10)
data_preprocessor = dict(size=(192, 192))
model = dict(
    data_preprocessor=data_preprocessor,
    pretrained=None,
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
    decode_head=dict(
        in_channels=[32, 64, 128, 256],
        channels=48,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=loss_decode,
    ),
    auxiliary_head=dict(
        in_channels=128,
        channels=32,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=loss_decode,
    ),
)

# --- schedule: 750 iterations, batch 4, AdamW 1.5e-3, warm-up, poly -------
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, weight_decay=0.01, fused=True),
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='PolyLR',
        eta_min=0.0,
        power=1.0,
        by_epoch=False,
        begin=100,
        end=750,
    ),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=750, val_interval=375)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    _base_.vheat_hooks,
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=750,
        max_keep_ckpts=1,
        backend_args=dict(backend='atomic'),
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=4)
