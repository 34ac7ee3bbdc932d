# vHeat-T, 300 epochs at 224x224, ImageNet-1k.
# Published: top-1 82.2 % on val.
# Recipe: lr 2e-3, weight decay 0.08, 16 x 128 images, 300 epochs,
# drop path 0.1
#
# Train: NNODES=2 tools/dist_train.sh \
#     configs/classification/vheat-t_16xb128_in1k.py 8
# Test:  tools/dist_test.sh \
#     configs/classification/vheat-t_16xb128_in1k.py CHECKPOINT 8
#        CHECKPOINT may be the official vHeat_tiny.pth.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/default_runtime.py',
    '../_base_/runtime.py',
]

# Of the official classifier, classifier.0 is backbone.outnorm3 and
# classifier.3 is head.fc.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='vHeat',
        arch='tiny',
        img_size=224,
        drop_path_rate=0.1,
        out_indices=(3,),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        loss=dict(
            type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'
        ),
        cal_acc=False,
    ),
    train_cfg=dict(
        augments=[
            dict(type='Mixup', alpha=0.8),
            dict(type='CutMix', alpha=1.0),
        ]
    ),
)

train_dataloader = dict(batch_size=128)
val_dataloader = dict(batch_size=128)
test_dataloader = val_dataloader
auto_scale_lr = dict(enable=False, base_batch_size=2048)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='float16',
    loss_scale='dynamic',
    optimizer=dict(
        type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=0.08
    ),
    clip_grad=dict(max_norm=5.0),
    # Norms, biases and layer scales do not decay; weights and frequency
    # value embeddings do.
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0
    ),
)
max_epochs = 300
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=20,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=2e-5,
        by_epoch=True,
        begin=20,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]
default_hooks = dict(
    _base_.vheat_hooks,
    checkpoint=dict(max_keep_ckpts=3, backend_args=dict(backend='atomic')),
)
