# ImageNet-V2 (Recht et al. 2019): 10,000 images, folders 0 to 999.
#
#   python tools/robustness.py CONFIG CHECKPOINT --data imagenet-v2 \
#       [--data-root data/imagenet-v2]
conditions = 'clean'
library = 'mmpretrain'
dataset = dict(
    type='ImageNetVariant', variant='v2', data_root='data/imagenet-v2'
)
evaluator = dict(type='SubsetAccuracy', variant='v2')
