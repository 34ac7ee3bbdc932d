# The classifier of the quickstart with half its schedule, for the comparison
# in docs/robustness.md. swin-n_* and convnext-n_* differ in the backbone only.
# Measured: top-1 92.2 % on the crops of val.
#
#   python tools/train.py \
#       configs/robustness/quickstart/vheat-n_6e_digit-crops-64x64.py
_base_ = '../../quickstart/vheat-n_12e_digit-crops-64x64.py'

optim_wrapper = dict(optimizer=dict(fused=False))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=90),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=90, T_max=450),
]
train_cfg = dict(max_epochs=6)
