# The classifier of the quickstart with a shorter schedule: what
# tools/analysis_tools/ablate_propagators.py trains with every law of
# propagation. A law of your own is one line, see docs/propagators.md:
#
#   python tools/train.py configs/quickstart/vheat-n_2e_digit-crops-64x64.py \
#       --cfg-options model.backbone.propagator.type=DampedWavePropagator
_base_ = './vheat-n_12e_digit-crops-64x64.py'

model = dict(
    backbone=dict(
        propagator=dict(type='HeatPropagator'),
        k='freq_embed',  # or 'input', 'scalar', 'vector', a number
    )
)

# --- schedule: 2 epochs, batch 32, AdamW 2e-3, warm-up, cosine ------------
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=45),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=45, T_max=135),
]
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
