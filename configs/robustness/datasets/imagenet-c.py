# ImageNet-C (Hendrycks and Dietterich 2019) from its files,
# data_root/CORRUPTION/SEVERITY/CLASS/IMAGE, which are 224x224 already. Clean
# images are those of the config. On the fly instead: --data corruptions.
#
#   python tools/robustness.py CONFIG CHECKPOINT --data imagenet-c \
#       [--data-root data/imagenet-c]
conditions = 'folders'
library = 'mmpretrain'
dataset = dict(
    type='ImageNetVariant',
    variant='imagenet',
    data_root='data/imagenet-c',
    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
)
evaluator = dict(type='SubsetAccuracy', variant='imagenet')
