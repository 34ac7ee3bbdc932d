# The same detector on a narrow Swin, from the weights of its classifier.
# Measured: box AP 0.631, mask AP 0.642 on the scenes of val.
_base_ = './mask-rcnn_vheat-n_fpn_2e_digit-scenes.py'

custom_imports = dict(
    imports=['mmvheat', 'mmvheat.engine', 'mmpretrain.models'],
    allow_failed_imports=False,
)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.SwinTransformer',
        arch=dict(embed_dims=32, depths=[2, 2, 3, 1], num_heads=[2, 4, 8, 16]),
        img_size=192,
        window_size=4,
        pad_small_map=True,
        drop_path_rate=0.05,
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/swin-n_6e_digit-crops-64x64/epoch_6.pth',
            prefix='backbone.',
        ),
    )
)
