# UperNet, vHeat-T, 160k iterations in bfloat16, ADE20K.
# Published: no result; forward passes in bfloat16, all else as in the run
# inherited from.
# Recipe: lr 6e-5, weight decay 0.01, 8 x 2 images, 160000 iterations,
# drop path 0.3
#
# Train: tools/dist_train.sh \
#     configs/upernet/upernet_vheat-t_8xb2-bf16-160k_ade20k-512x512.py 8
# Test:  tools/dist_test.sh \
#     configs/upernet/upernet_vheat-t_8xb2-bf16-160k_ade20k-512x512.py \
#     CHECKPOINT 8 [--tta]
_base_ = './upernet_vheat-t_8xb2-160k_ade20k-512x512.py'

optim_wrapper = dict(type='BFloat16OptimWrapper')
