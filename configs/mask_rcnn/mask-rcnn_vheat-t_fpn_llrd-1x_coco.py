# Mask R-CNN with FPN, vHeat-T, 1x schedule with layer-wise lr decay, COCO.
# Published: no result; every block learns 0.9 times as fast as the next one,
# all else as in the 1x run.
# Recipe: lr 1e-4, weight decay 0.05, 8 x 2 images, 12 epochs, drop path 0.1
#
# Train: tools/dist_train.sh \
#     configs/mask_rcnn/mask-rcnn_vheat-t_fpn_llrd-1x_coco.py 8
# Test:  tools/dist_test.sh \
#     configs/mask_rcnn/mask-rcnn_vheat-t_fpn_llrd-1x_coco.py \
#     CHECKPOINT 8
_base_ = './mask-rcnn_vheat-t_fpn_1x_coco.py'

optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
