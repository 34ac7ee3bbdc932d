# ImageNet-R (Hendrycks et al. 2021): 30,000 images, 200 classes.
#
#   python tools/robustness.py CONFIG CHECKPOINT --data imagenet-r \
#       [--data-root data/imagenet-r]
conditions = 'clean'
library = 'mmpretrain'
dataset = dict(
    type='ImageNetVariant', variant='r', data_root='data/imagenet-r'
)
evaluator = dict(type='SubsetAccuracy', variant='r')
