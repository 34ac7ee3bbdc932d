# vHeat-S, 300 epochs at 224x224, ImageNet-1k.
# Published: top-1 83.6 % on val.
# Recipe: lr 2e-3, weight decay 0.08, 16 x 128 images, 300 epochs,
# drop path 0.3
#
# Train: NNODES=2 tools/dist_train.sh \
#     configs/classification/vheat-s_16xb128_in1k.py 8
# Test:  tools/dist_test.sh \
#     configs/classification/vheat-s_16xb128_in1k.py CHECKPOINT 8
#        CHECKPOINT may be the official vHeat_small.pth.
_base_ = './vheat-t_16xb128_in1k.py'

model = dict(
    backbone=dict(arch='small', drop_path_rate=0.3),
)
