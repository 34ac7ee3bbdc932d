# The detector of the quickstart with larger batches, from the weights of the
# classifier of six epochs, for docs/robustness.md.
# Measured: box AP 0.681, mask AP 0.689 on the scenes of val.
#
#   python interpolate4downstream.py --pt_size 64 --tg_size 192 \
#       --pt_pth work_dirs/vheat-n_6e_digit-crops-64x64/epoch_6.pth \
#       --tg_pth work_dirs/vheat-n_6e_digits-192.pth
#   python tools/train.py \
#       configs/robustness/quickstart/mask-rcnn_vheat-n_fpn_2e_digit-scenes.py
_base_ = '../../quickstart/mask-rcnn_vheat-n_fpn_2e_digit-scenes.py'

train_dataloader = dict(batch_size=8)
model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/vheat-n_6e_digits-192.pth')
    ),
    roi_head=dict(
        bbox_head=dict(reg_class_agnostic=False),
        mask_head=dict(class_agnostic=False),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=32, pos_fraction=0.25))),
)
optim_wrapper = dict(optimizer=dict(fused=False))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=66),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=66, T_max=184),
]
train_cfg = dict(max_epochs=2, val_interval=1)
auto_scale_lr = dict(base_batch_size=8)
