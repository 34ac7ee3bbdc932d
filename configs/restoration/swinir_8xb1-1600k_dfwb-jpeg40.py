# Baseline: SwinIR takes the artefacts of JPEG, quality 40, out of gray images.
# Needs mmpretrain, whose blocks of Swin Transformer it is built from.
# Published: PSNR 34.67 on LIVE1, by SwinIR's paper.
#
#   tools/dist_train.sh \
#       configs/restoration/swinir_8xb1-1600k_dfwb-jpeg40.py 8
#   tools/dist_test.sh \
#       configs/restoration/swinir_8xb1-1600k_dfwb-jpeg40.py CHECKPOINT 1
_base_ = './vheatir_8xb1-1600k_dfwb-jpeg40.py'
model = dict(network=dict(mixer='swin', window_size=7, num_heads=6))
