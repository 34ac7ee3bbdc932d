# Mask R-CNN with FPN, Swin-B, 1x schedule, COCO 2017: mmdet's config of Swin-T
# with the dimensions of Swin-B.
# Published: box AP 46.9, mask AP 42.3 on val2017.
# Recipe: lr 1e-4, weight decay 0.05, 8 x 2 images, 12 epochs, drop path 0.3
#
# Train: tools/dist_train.sh \
#     configs/mask_rcnn/mask-rcnn_swin-b_fpn_1x_coco.py 8
# Test:  tools/dist_test.sh \
#     configs/mask_rcnn/mask-rcnn_swin-b_fpn_1x_coco.py CHECKPOINT 8
_base_ = './mask-rcnn_swin-t_fpn_1x_coco.py'

checkpoint = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_base_patch4_window7_224.pth'  # noqa: E501
model = dict(
    backbone=dict(
        embed_dims=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
