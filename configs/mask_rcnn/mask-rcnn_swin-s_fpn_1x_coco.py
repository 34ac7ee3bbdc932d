# Mask R-CNN with FPN, Swin-S, 1x schedule, COCO 2017: mmdet's config of Swin-T
# with the depths of Swin-S.
# Published: box AP 44.8, mask AP 40.9 on val2017.
# Recipe: lr 1e-4, weight decay 0.05, 8 x 2 images, 12 epochs, drop path 0.2
#
# Train: tools/dist_train.sh \
#     configs/mask_rcnn/mask-rcnn_swin-s_fpn_1x_coco.py 8
# Test:  tools/dist_test.sh \
#     configs/mask_rcnn/mask-rcnn_swin-s_fpn_1x_coco.py CHECKPOINT 8
_base_ = './mask-rcnn_swin-t_fpn_1x_coco.py'

checkpoint = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_small_patch4_window7_224.pth'  # noqa: E501
model = dict(
    backbone=dict(
        depths=[2, 2, 18, 2],
        init_cfg=dict(checkpoint=checkpoint),
    ),
)
