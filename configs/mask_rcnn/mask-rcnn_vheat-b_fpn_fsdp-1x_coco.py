# Mask R-CNN with FPN, vHeat-B, 1x schedule sharded by FSDP, COCO 2017.
# Published: no result; each GPU holds a part of the parameters, gradients and
# optimizer state, all else as in the 1x run.
# Recipe: lr 1e-4, weight decay 0.05, 8 x 2 images, 12 epochs, drop path 0.5
#
# Train: tools/dist_train.sh \
#     configs/mask_rcnn/mask-rcnn_vheat-b_fpn_fsdp-1x_coco.py 8
# Test:  tools/dist_test.sh \
#     configs/mask_rcnn/mask-rcnn_vheat-b_fpn_fsdp-1x_coco.py CHECKPOINT 8
_base_ = './mask-rcnn_vheat-b_fpn_1x_coco.py'

runner_type = 'FlexibleRunner'
strategy = dict(type='ShardedStrategy')
