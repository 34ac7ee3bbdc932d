# Denoisers of equal size beside OpenCV's, 18 runs of three minutes on a GPU:
# docs/restoration.md.
#
#   python tools/analysis_tools/compare_variants.py \
#       configs/comparisons/restorers.py [--jobs 2]
#
# For a comparison of your own see propagators.py. References are functions
# from (cfg, metric, and the arguments here) to a title and metrics by names;
# `draw=False` leaves one out of the picture.
base = '../quickstart/vheatir-n_graydn25_photographs.py'
metric = dict(
    name='test/PSNR',
    digits=2,
    label='PSNR (dB) on held-out photographs, sigma 25, gray',
)
settings = {
    # One iteration of warm-up more than the base, as the docs were measured.
    'param_scheduler.0.end': 51,
    'param_scheduler.1': dict(begin=51, T_max=1949),
    'train_cfg.val_interval': 2000,
    'default_hooks.checkpoint': dict(
        interval=2000, save_optimizer=False, save_param_scheduler=False
    ),
    'default_hooks.learning_curves': None,
}
data = dict(
    type='mmvheat.datasets.restoration_photographs.make_photographs',
    root='data/photographs',
)
_measure = 'mmvheat.evaluation.untrained.measure_'
references = [
    dict(type=_measure + 'noisy', draw=False),
    dict(type=_measure + 'opencv', strengths=[*range(16, 41, 2)]),
]
_dncnn = dict(_delete_=True, type='DnCNN', in_channels=1)
_dncnn.update(channels=30, depth=11)
_networks = dict(
    heat=('vHeatIR, k from the FVE', dict()),
    flat=('the same, k near 0 at the start', dict(initial_k=None)),
    k0=('the same, nothing spreads: k = 0', dict(k=0)),
    swin=('SwinIR', dict(mixer='swin', embed_dims=34, num_heads=2)),
    dncnn=('DnCNN', _dncnn),
    cnn=('DnCNN without batch norm', dict(_dncnn, norm=False)),
)
variants = {
    name: dict(title=title, options={'model.network': network})
    for name, (title, network) in _networks.items()
}
