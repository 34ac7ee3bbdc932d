# Baseline: SwinIR takes Gaussian noise of sigma 25 out of gray images.
# Needs mmpretrain, whose blocks of Swin Transformer it is built from.
# Published: PSNR 31.01 on Set12, by SwinIR's paper.
#
#   tools/dist_train.sh \
#       configs/restoration/swinir_8xb1-1600k_dfwb-graydn25.py 8
#   tools/dist_test.sh \
#       configs/restoration/swinir_8xb1-1600k_dfwb-graydn25.py CHECKPOINT 1
_base_ = './vheatir_8xb1-1600k_dfwb-graydn25.py'
model = dict(network=dict(mixer='swin', window_size=8, num_heads=6))
