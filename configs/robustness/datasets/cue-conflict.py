# Cue conflicts (Geirhos et al. 2019): 1,280 images, shape bias.
#
#   python tools/robustness.py CONFIG CHECKPOINT --data cue-conflict \
#       [--data-root data/cue-conflict]
conditions = 'clean'
library = 'mmpretrain'
dataset = dict(
    type='ImageNetVariant',
    variant='cue-conflict',
    data_root='data/cue-conflict',
)
evaluator = dict(type='ShapeBias')
