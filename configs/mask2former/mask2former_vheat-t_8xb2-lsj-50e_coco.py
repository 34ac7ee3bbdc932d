# Mask2Former, vHeat-T, 50 epochs with large-scale jitter, COCO 2017 instances.
# Published: no result; the recipe is mmdet's for other backbones.
# Recipe: lr 1e-4, weight decay 0.05, 8 x 2 images, 368750 iterations,
# drop path 0.3
#
# Train: tools/dist_train.sh \
#     configs/mask2former/mask2former_vheat-t_8xb2-lsj-50e_coco.py 8
# Test:  tools/dist_test.sh \
#     configs/mask2former/mask2former_vheat-t_8xb2-lsj-50e_coco.py \
#     CHECKPOINT 8
_base_ = [
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    '../_base_/runtime.py',
]
default_hooks = _base_.vheat_hooks

checkpoint = 'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/vHeat_tiny.pth'  # noqa: E501
model = dict(
    backbone=dict(
        _delete_=True,
        type='vHeat',
        arch='tiny',
        img_size=1024,
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    panoptic_head=dict(in_channels=[96, 192, 384, 768]),
)

# The config inherited from comes from a panoptic one, whose label maps an
# instance segmentor does not need.
train_dataloader = dict(
    batch_size=2,
    dataset=dict(data_prefix=dict(_delete_=True, img='train2017/')),
)
val_dataloader = dict(
    dataset=dict(data_prefix=dict(_delete_=True, img='val2017/'))
)
test_dataloader = val_dataloader

auto_scale_lr = dict(enable=False, base_batch_size=16)
max_iters = 368750
train_cfg = dict(max_iters=max_iters)
param_scheduler = dict(
    type='MultiStepLR',
    by_epoch=False,
    begin=0,
    end=max_iters,
    milestones=[327778, 355092],
    gamma=0.1,
)
backbone_norm = dict(lr_mult=0.1, decay_mult=0.0)
optim_wrapper = dict(
    optimizer=dict(
        type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05
    ),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    # The longest key that is part of a parameter's name applies to it.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={
            'backbone': dict(lr_mult=0.1, decay_mult=1.0),
            'backbone.patch_embed.norm': backbone_norm,
            'backbone.outnorm': backbone_norm,
            **{
                f'backbone.layers.{stage}.{block}.{name}': backbone_norm
                for stage, depth in enumerate([2, 2, 6, 2])
                for block in range(depth)
                for name in ('norm', 'op.out_norm')
            },
        },
    ),
)
