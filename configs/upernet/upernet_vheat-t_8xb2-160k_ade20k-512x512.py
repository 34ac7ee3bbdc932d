# UperNet, vHeat-T, 160k iterations, ADE20K.
# Published: mIoU 47.0 on val, single scale.
# Recipe: lr 6e-5, weight decay 0.01, 8 x 2 images, 160000 iterations,
# drop path 0.3
#
# Train: tools/dist_train.sh \
#     configs/upernet/upernet_vheat-t_8xb2-160k_ade20k-512x512.py 8
# Test:  tools/dist_test.sh \
#     configs/upernet/upernet_vheat-t_8xb2-160k_ade20k-512x512.py \
#     CHECKPOINT 8 [--tta]     (scales 0.5 to 1.75 and flips)
_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    'mmseg::_base_/datasets/ade20k.py',
    'mmseg::_base_/schedules/schedule_160k.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/runtime.py',
]
default_hooks = _base_.vheat_hooks

# The official ImageNet weights as they are: the backbone fits their frequency
# value embeddings to img_size. A local file goes in by
# --cfg-options model.backbone.init_cfg.checkpoint=PATH
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
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768], num_classes=150),
    auxiliary_head=dict(in_channels=384, num_classes=150),
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(341, 341)),
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
    # By name, as published: the norms after downsampling, biases, layer
    # scales and frequency value embeddings do decay.
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
)
max_iters = 160000
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
