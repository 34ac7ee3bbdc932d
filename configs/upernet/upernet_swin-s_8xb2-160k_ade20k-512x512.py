# UperNet, Swin-S, 160k iterations, ADE20K: mmseg's own config.
# Published: mIoU 47.6 on val, single scale.
# Recipe: lr 6e-5, weight decay 0.01, 8 x 2 images, 160000 iterations,
# drop path 0.3
#
# Train: tools/dist_train.sh \
#     configs/upernet/upernet_swin-s_8xb2-160k_ade20k-512x512.py 8
# Test:  tools/dist_test.sh \
#     configs/upernet/upernet_swin-s_8xb2-160k_ade20k-512x512.py \
#     CHECKPOINT 8 [--tta]
_base_ = [
    'mmseg::swin/swin-small-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',  # noqa: E501
    '../_base_/runtime.py',
]
default_hooks = _base_.vheat_hooks

auto_scale_lr = dict(enable=False, base_batch_size=16)
