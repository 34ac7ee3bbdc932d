# Pre-training: a narrow vHeat classifies single digits on photographs.
# Measured: top-1 95.8 % on the crops of val.
#
#   python tools/train.py configs/quickstart/vheat-n_12e_digit-crops-64x64.py
#
# For your own images: an ImageNet-style folder (one folder a class), its path
# in `data_root`, the number of classes in the head.
_base_ = [
    'mmpretrain::_base_/default_runtime.py',
    '../_base_/runtime.py',
]

# --- data -----------------------------------------------------------------
data_root = 'data/digit_scenes/classification'
data_preprocessor = dict(
    num_classes=10,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=64,
        crop_ratio_range=(0.6, 1.0),
        aspect_ratio_range=(0.8, 1.25),
    ),
    dict(
        type='Rotate',
        magnitude_range=(0, 15),
        magnitude_std='inf',
        prob=1.0,
        interpolation='bilinear',
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='val',
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=1)
test_evaluator = val_evaluator

# --- model ----------------------------------------------------------------
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='vHeat',
        arch=dict(
            embed_dims=32,
            depths=(1, 1, 2, 1),
            post_norm=False,
            layer_scale=None,
        ),
        img_size=64,
        drop_path_rate=0.05,
        out_indices=(3,),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=256,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
)

# --- schedule: 12 epochs, batch 32, AdamW 2e-3, warm-up, cosine -----------
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=180),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=180, T_max=900),
]
train_cfg = dict(by_epoch=True, max_epochs=12, val_interval=3)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    _base_.vheat_hooks,
    logger=dict(interval=30),
    checkpoint=dict(
        interval=1, max_keep_ckpts=1, backend_args=dict(backend='atomic')
    ),
)
randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=32)
