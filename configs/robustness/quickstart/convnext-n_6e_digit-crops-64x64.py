# A narrow ConvNeXt with the parameters of the narrow vHeat (1.72 M, 1.67 M).
# Measured: top-1 83.0 % on the crops of val.
_base_ = './vheat-n_6e_digit-crops-64x64.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ConvNeXt',
        arch=dict(depths=[1, 1, 3, 2], channels=[32, 64, 128, 256]),
        drop_path_rate=0.05,
        out_indices=(3,),
        gap_before_final_norm=False,
    )
)
