# ObjectNet (Barbu et al. 2019): 113 of 313 folders; the red border goes.
#
#   python tools/robustness.py CONFIG CHECKPOINT --data objectnet \
#       [--data-root data/objectnet]
conditions = 'clean'
library = 'mmpretrain'
dataset = dict(
    type='ImageNetVariant', variant='objectnet', data_root='data/objectnet'
)
evaluator = dict(type='SubsetAccuracy', variant='objectnet')
after_loading = [dict(type='CropBorder', width=2)]
