# Semantic FPN, vHeat-T, 40k iterations, ADE20K.
# Published: no result; the recipe is the one usual for backbones since PVT.
# Recipe: lr 2e-4, weight decay 1e-4, 8 x 4 images, 40000 iterations,
# drop path 0.1
#
# Train: tools/dist_train.sh \
#     configs/sem_fpn/fpn_vheat-t_8xb4-40k_ade20k-512x512.py 8
# Test:  tools/dist_test.sh \
#     configs/sem_fpn/fpn_vheat-t_8xb4-40k_ade20k-512x512.py \
#     CHECKPOINT 8 [--tta]
_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    'mmseg::_base_/datasets/ade20k.py',
    'mmseg::_base_/schedules/schedule_40k.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/runtime.py',
]
default_hooks = _base_.vheat_hooks

checkpoint = 'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/vHeat_tiny.pth'  # noqa: E501
crop_size = (512, 512)
data_preprocessor = dict(size=crop_size)
model = dict(
    data_preprocessor=data_preprocessor,
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='vHeat',
        arch='tiny',
        img_size=512,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
    decode_head=dict(num_classes=150),
)

train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(enable=False, base_batch_size=32)
optimizer = dict(
    _delete_=True,
    type='AdamW',
    lr=2e-4,
    betas=(0.9, 0.999),
    weight_decay=1e-4,
)
optim_wrapper = dict(optimizer=optimizer)
max_iters = 40000
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
