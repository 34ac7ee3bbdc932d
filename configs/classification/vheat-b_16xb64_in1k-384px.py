# vHeat-B, fine-tuned for 30 epochs at 384x384, ImageNet-1k.
# Published: no result; the recipe is the one usual for Swin at 384.
# Recipe: lr 4e-5, weight decay 1e-8, 16 x 64 images, 30 epochs, drop path 0.5
#
# It starts from the official weights at 224x224, whose frequency value
# embeddings are fitted to 384 on load. A local file goes in by
# --cfg-options load_from=PATH
#
# Train: NNODES=2 tools/dist_train.sh \
#     configs/classification/vheat-b_16xb64_in1k-384px.py 8
# Test:  tools/dist_test.sh \
#     configs/classification/vheat-b_16xb64_in1k-384px.py CHECKPOINT 8
_base_ = [
    './vheat-b_16xb128_in1k.py',
]

load_from = 'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/vHeat_base.pth'  # noqa: E501
model = dict(backbone=dict(img_size=384))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=384,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=384, backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

auto_scale_lr = dict(enable=False, base_batch_size=1024)
optim_wrapper = dict(optimizer=dict(lr=4e-5, weight_decay=1e-8))
max_epochs = 30
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=4e-7,
        by_epoch=True,
        begin=5,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
