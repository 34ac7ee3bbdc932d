# Mask R-CNN with FPN, Swin-T, 3x schedule with multi-scale training and crops,
# COCO 2017: mmdet's own config.
# Published: box AP 46.0, mask AP 41.6 on val2017.
# Recipe: lr 1e-4, weight decay 0.05, 8 x 2 images, 36 epochs, drop path 0.2
#
# Train: tools/dist_train.sh \
#     configs/mask_rcnn/mask-rcnn_swin-t_fpn_ms-crop-3x_coco.py 8
# Test:  tools/dist_test.sh \
#     configs/mask_rcnn/mask-rcnn_swin-t_fpn_ms-crop-3x_coco.py \
#     CHECKPOINT 8
_base_ = [
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py',
    '../_base_/runtime.py',
]
default_hooks = _base_.vheat_hooks
