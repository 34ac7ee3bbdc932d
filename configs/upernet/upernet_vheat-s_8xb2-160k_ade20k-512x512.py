# UperNet, vHeat-S, 160k iterations, ADE20K.
# Published: mIoU 49.0 on val, single scale.
# Recipe: lr 6e-5, weight decay 0.01, 8 x 2 images, 160000 iterations,
# drop path 0.4
#
# Train: tools/dist_train.sh \
#     configs/upernet/upernet_vheat-s_8xb2-160k_ade20k-512x512.py 8
# Test:  tools/dist_test.sh \
#     configs/upernet/upernet_vheat-s_8xb2-160k_ade20k-512x512.py \
#     CHECKPOINT 8 [--tta]     (scales 0.5 to 1.75 and flips)
_base_ = './upernet_vheat-t_8xb2-160k_ade20k-512x512.py'

checkpoint = 'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/vHeat_small.pth'  # noqa: E501
model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint=checkpoint),
    ),
)
