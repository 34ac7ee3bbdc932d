# ImageNet-Sketch (Wang et al. 2019): 50,889 images, 1,000 classes.
#
#   python tools/robustness.py CONFIG CHECKPOINT --data imagenet-sketch \
#       [--data-root data/imagenet-sketch]
conditions = 'clean'
library = 'mmpretrain'
dataset = dict(
    type='ImageNetVariant',
    variant='imagenet',
    data_root='data/imagenet-sketch',
)
evaluator = dict(type='SubsetAccuracy', variant='imagenet')
