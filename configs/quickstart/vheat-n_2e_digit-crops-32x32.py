# The classifier of the quickstart with a shorter schedule on smaller images:
# what configs/comparisons/propagators.py trains with every law of
# propagation. Measured: top-1 68.9 % on the crops of val, mean of three seeds.
# A law of your own is one line, see docs/propagators.md:
#
#   python tools/train.py configs/quickstart/vheat-n_2e_digit-crops-32x32.py \
#       --cfg-options model.backbone.propagator.type=DampedWavePropagator
_base_ = './vheat-n_12e_digit-crops-64x64.py'

# --- data -----------------------------------------------------------------
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 32
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=32),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# --- model ----------------------------------------------------------------
model = dict(
    backbone=dict(
        img_size=32,
        propagator=dict(type='HeatPropagator'),
        k='freq_embed',  # or 'input', 'scalar', 'vector', a number
    )
)

# --- schedule: 2 epochs, batch 32, AdamW 2e-3, warm-up, cosine ------------
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=30),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=30, T_max=150),
]
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
