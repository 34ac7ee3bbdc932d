# Mask R-CNN with FPN, vHeat-T, 3x schedule with multi-scale training and
# crops, COCO 2017.
# Published: box AP 47.3, mask AP 42.5 on val2017.
# Recipe: lr 1e-4, weight decay 0.05, 8 x 2 images, 36 epochs, drop path 0.2
#
# The official file of this run leaves img_size at 224, so the embeddings of
# its checkpoint have another grid; they are fitted to 512 on load.
#
# Train: tools/dist_train.sh \
#     configs/mask_rcnn/mask-rcnn_vheat-t_fpn_ms-crop-3x_coco.py 8
# Test:  tools/dist_test.sh \
#     configs/mask_rcnn/mask-rcnn_vheat-t_fpn_ms-crop-3x_coco.py \
#     CHECKPOINT 8
_base_ = './mask-rcnn_vheat-t_fpn_1x_coco.py'

model = dict(backbone=dict(drop_path_rate=0.2))

scales = [(short, 1333) for short in range(480, 801, 32)]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='RandomChoiceResize', scales=scales, keep_ratio=True)],
            [
                dict(
                    type='RandomChoiceResize',
                    scales=[(400, 1333), (500, 1333), (600, 1333)],
                    keep_ratio=True,
                ),
                dict(
                    type='RandomCrop',
                    crop_type='absolute_range',
                    crop_size=(384, 600),
                    allow_negative_crop=True,
                ),
                dict(
                    type='RandomChoiceResize', scales=scales, keep_ratio=True
                ),
            ],
        ],
    ),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

max_epochs = 36
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
        milestones=[27, 33],
        gamma=0.1,
    ),
]
