# Faster R-CNN with FPN, vHeat-T, 1x schedule, COCO 2017: boxes alone, for data
# without masks.
# Published: no result; the recipe is that of Mask R-CNN.
# Recipe: lr 1e-4, weight decay 0.05, 8 x 2 images, 12 epochs, drop path 0.1
#
# Train: tools/dist_train.sh \
#     configs/faster_rcnn/faster-rcnn_vheat-t_fpn_1x_coco.py 8
# Test:  tools/dist_test.sh \
#     configs/faster_rcnn/faster-rcnn_vheat-t_fpn_1x_coco.py CHECKPOINT 8
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/runtime.py',
]
default_hooks = _base_.vheat_hooks

# The official ImageNet weights as they are: the backbone fits their frequency
# value embeddings to img_size. A local file goes in by
# --cfg-options model.backbone.init_cfg.checkpoint=PATH
checkpoint = 'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/vHeat_tiny.pth'  # noqa: E501
model = dict(
    backbone=dict(
        _delete_=True,
        type='vHeat',
        arch='tiny',
        img_size=512,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)

train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(enable=False, base_batch_size=16)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05
    ),
    # By name, as published: the norms after downsampling, biases, layer
    # scales and frequency value embeddings do decay.
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
)
max_epochs = 12
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1000
    ),
    dict(
        type='MultiStepLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        milestones=[8, 11],
        gamma=0.1,
    ),
]
