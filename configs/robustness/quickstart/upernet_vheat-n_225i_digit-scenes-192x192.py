# The segmentor of the quickstart with fewer, larger batches, from the weights
# of the classifier of six epochs, for docs/robustness.md; first convert as
# mask-rcnn_vheat-n_fpn_2e_digit-scenes.py says.
# Measured: mIoU 50.0 % on the scenes of val.
_base_ = '../../quickstart/upernet_vheat-n_750i_digit-scenes-192x192.py'

train_dataloader = dict(batch_size=8)
model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/vheat-n_6e_digits-192.pth')
    )
)
optim_wrapper = dict(optimizer=dict(fused=False))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='PolyLR',
        eta_min=0.0,
        power=1.0,
        by_epoch=False,
        begin=50,
        end=225,
    ),
]
train_cfg = dict(max_iters=225, val_interval=225)
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=225))
auto_scale_lr = dict(base_batch_size=8)
