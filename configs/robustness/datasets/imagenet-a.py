# ImageNet-A (Hendrycks et al. 2021): 7,500 images, 200 classes.
#
#   python tools/robustness.py CONFIG CHECKPOINT --data imagenet-a \
#       [--data-root data/imagenet-a]
conditions = 'clean'
library = 'mmpretrain'
dataset = dict(
    type='ImageNetVariant', variant='a', data_root='data/imagenet-a'
)
evaluator = dict(type='SubsetAccuracy', variant='a')
