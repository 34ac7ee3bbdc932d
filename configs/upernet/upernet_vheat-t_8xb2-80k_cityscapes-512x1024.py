# UperNet, vHeat-T, 80k iterations, Cityscapes.
# Published: no result; the recipe is that of ADE20K at half the iterations.
# Recipe: lr 6e-5, weight decay 0.01, 8 x 2 images, 80000 iterations,
# drop path 0.3
#
# Train: tools/dist_train.sh \
#     configs/upernet/upernet_vheat-t_8xb2-80k_cityscapes-512x1024.py 8
# Test:  tools/dist_test.sh \
#     configs/upernet/upernet_vheat-t_8xb2-80k_cityscapes-512x1024.py \
#     CHECKPOINT 8 [--tta]
_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    'mmseg::_base_/datasets/cityscapes.py',
    'mmseg::_base_/schedules/schedule_80k.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/runtime.py',
]
default_hooks = _base_.vheat_hooks

checkpoint = 'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/vHeat_tiny.pth'  # noqa: E501
crop_size = (512, 1024)
data_preprocessor = dict(size=crop_size)
model = dict(
    data_preprocessor=data_preprocessor,
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='vHeat',
        arch='tiny',
        img_size=crop_size,
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768], num_classes=19),
    auxiliary_head=dict(in_channels=384, num_classes=19),
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(341, 683)),
)

train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(enable=False, base_batch_size=16)
optimizer = dict(
    _delete_=True,
    type='AdamW',
    lr=6e-5,
    betas=(0.9, 0.999),
    weight_decay=0.01,
)
optim_wrapper = dict(
    optimizer=optimizer,
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
)
max_iters = 80000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500
    ),
    dict(
        type='PolyLR',
        eta_min=0.0,
        power=1.0,
        by_epoch=False,
        begin=1500,
        end=max_iters,
    ),
]
