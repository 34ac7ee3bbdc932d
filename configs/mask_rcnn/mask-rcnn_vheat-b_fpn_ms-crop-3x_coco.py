# Mask R-CNN with FPN, vHeat-B, 3x schedule with multi-scale training and
# crops, COCO 2017.
# Published: box AP 49.7, mask AP 44.3 on val2017 (later version of the paper;
# its configuration was not released, drop path is our choice).
# Recipe: lr 1e-4, weight decay 0.05, 8 x 2 images, 36 epochs, drop path 0.5
#
# Train: tools/dist_train.sh \
#     configs/mask_rcnn/mask-rcnn_vheat-b_fpn_ms-crop-3x_coco.py 8
# Test:  tools/dist_test.sh \
#     configs/mask_rcnn/mask-rcnn_vheat-b_fpn_ms-crop-3x_coco.py \
#     CHECKPOINT 8
_base_ = './mask-rcnn_vheat-t_fpn_ms-crop-3x_coco.py'

checkpoint = 'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/vHeat_base.pth'  # noqa: E501
model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
