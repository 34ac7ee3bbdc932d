# Swin-B, 300 epochs at 224x224, ImageNet-1k: mmpretrain's own config.
# Published: top-1 83.5 % on val.
# Recipe: lr 1e-3, weight decay 0.05, 16 x 64 images, 300 epochs, drop path 0.5
#
# Train: NNODES=2 tools/dist_train.sh \
#     configs/classification/swin-b_16xb64_in1k.py 8
# Test:  tools/dist_test.sh \
#     configs/classification/swin-b_16xb64_in1k.py CHECKPOINT 8
_base_ = [
    'mmpretrain::swin_transformer/swin-base_16xb64_in1k.py',
    '../_base_/runtime.py',
]
default_hooks = _base_.vheat_hooks
