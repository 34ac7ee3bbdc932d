# Mask2Former, vHeat-T, 160k iterations, ADE20K semantic segmentation.
# Published: no result; the recipe is mmseg's for other backbones.
# Recipe: lr 1e-4, weight decay 0.05, 8 x 2 images, 160000 iterations,
# drop path 0.3
#
# Train: tools/dist_train.sh \
#     configs/mask2former/mask2former_vheat-t_8xb2-160k_ade20k-512x512.py 8
# Test:  tools/dist_test.sh \
#     configs/mask2former/mask2former_vheat-t_8xb2-160k_ade20k-512x512.py \
#     CHECKPOINT 8 [--tta]
_base_ = [
    'mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py',
    '../_base_/hooks.py',
]
default_hooks = _base_.vheat_hooks
custom_imports = dict(
    imports=['mmdet.models', 'mmvheat', 'mmvheat.engine'],
    allow_failed_imports=False,
)

checkpoint = 'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/vHeat_tiny.pth'  # noqa: E501
model = dict(
    backbone=dict(
        _delete_=True,
        type='vHeat',
        arch='tiny',
        img_size=512,
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
)

train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(enable=False, base_batch_size=16)
max_iters = 160000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(
        type='PolyLR',
        eta_min=0.0,
        power=0.9,
        by_epoch=False,
        begin=0,
        end=max_iters,
    ),
]
optimizer = dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
backbone_norm = dict(lr_mult=0.1, decay_mult=0.0)
optim_wrapper = dict(
    optimizer=optimizer,
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
