# The same segmentor on a narrow ConvNeXt, from the weights of its classifier.
# Measured: mIoU 26.0 % on the scenes of val.
_base_ = './upernet_vheat-n_225i_digit-scenes-192x192.py'

custom_imports = dict(
    imports=['mmvheat', 'mmvheat.engine', 'mmpretrain.models'],
    allow_failed_imports=False,
)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch=dict(depths=[1, 1, 3, 2], channels=[32, 64, 128, 256]),
        drop_path_rate=0.05,
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/convnext-n_6e_digit-crops-64x64/epoch_6.pth',
            prefix='backbone.',
        ),
    )
)
