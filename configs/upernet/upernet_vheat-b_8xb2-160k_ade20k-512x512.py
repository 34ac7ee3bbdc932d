# UperNet, vHeat-B, 160k iterations, ADE20K.
# Published: mIoU 49.6 on val, single scale.
# Recipe: lr 6e-5, weight decay 0.01, 8 x 2 images, 160000 iterations,
# drop path 0.5
#
# Train: tools/dist_train.sh \
#     configs/upernet/upernet_vheat-b_8xb2-160k_ade20k-512x512.py 8
# Test:  tools/dist_test.sh \
#     configs/upernet/upernet_vheat-b_8xb2-160k_ade20k-512x512.py \
#     CHECKPOINT 8 [--tta]     (scales 0.5 to 1.75 and flips)
_base_ = './upernet_vheat-t_8xb2-160k_ade20k-512x512.py'

checkpoint = 'https://github.com/MzeroMiko/vHeat/releases/download/vheatcls/vHeat_base.pth'  # noqa: E501
model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint=checkpoint),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
