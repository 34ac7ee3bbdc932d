# A narrow Swin with the parameters of the narrow vHeat (1.69 M, 1.67 M).
# Measured: top-1 56.5 % on the crops of val.
_base_ = './vheat-n_6e_digit-crops-64x64.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        arch=dict(embed_dims=32, depths=[2, 2, 3, 1], num_heads=[2, 4, 8, 16]),
        img_size=64,
        window_size=4,
        pad_small_map=True,
        drop_path_rate=0.05,
    )
)
