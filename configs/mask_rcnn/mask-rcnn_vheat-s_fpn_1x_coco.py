# Mask R-CNN with FPN, vHeat-S, 1x schedule, COCO 2017.
# Published: box AP 46.8, mask AP 42.3 on val2017.
# Recipe: lr 1e-4, weight decay 0.05, 8 x 2 images, 12 epochs, drop path 0.3
#
# Train: tools/dist_train.sh \
#     configs/mask_rcnn/mask-rcnn_vheat-s_fpn_1x_coco.py 8
# Test:  tools/dist_test.sh \
#     configs/mask_rcnn/mask-rcnn_vheat-s_fpn_1x_coco.py CHECKPOINT 8
_base_ = './mask-rcnn_vheat-t_fpn_1x_coco.py'

checkpoint = 'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/vHeat_small.pth'  # noqa: E501
model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint=checkpoint),
    ),
)
