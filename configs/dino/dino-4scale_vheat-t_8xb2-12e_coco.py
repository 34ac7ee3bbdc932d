# DINO with 4 scales, vHeat-T, 12 epochs, COCO 2017.
# Published: no result; the recipe is mmdet's for other backbones.
# Recipe: lr 1e-4, weight decay 1e-4, 8 x 2 images, 12 epochs, drop path 0.1
#
# Train: tools/dist_train.sh \
#     configs/dino/dino-4scale_vheat-t_8xb2-12e_coco.py 8
# Test:  tools/dist_test.sh \
#     configs/dino/dino-4scale_vheat-t_8xb2-12e_coco.py CHECKPOINT 8
_base_ = [
    'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
    '../_base_/runtime.py',
]
default_hooks = _base_.vheat_hooks

checkpoint = 'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/vHeat_tiny.pth'  # noqa: E501
model = dict(
    backbone=dict(
        _delete_=True,
        type='vHeat',
        arch='tiny',
        img_size=512,
        drop_path_rate=0.1,
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[192, 384, 768]),
)

train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(enable=False, base_batch_size=16)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)
train_cfg = dict(max_epochs=12)
param_scheduler = [
    dict(
        type='MultiStepLR',
        by_epoch=True,
        begin=0,
        end=12,
        milestones=[11],
        gamma=0.1,
    ),
]
