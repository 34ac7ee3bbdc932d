# Every law of propagation, 27 runs of half a minute: docs/propagators.md. The
# data set is tiny: it tells laws that work from those that do not, no more.
#
#   python tools/analysis_tools/compare_variants.py \
#       configs/comparisons/propagators.py [--variants heat wave]
#
# A comparison of your own is a file like this one (docs/howto/compare.md):
#   base        a config, its path from the folder of this file
#   metric      what decides: its name in the results of a test (or validation,
#               without a test), its digits in the table, its label in the plot
#   variants    by their names, a title and the options of each, which change
#               the config as --cfg-options do; a dict with `_delete_=True`
#               takes the place of the old one, see restorers.py
#   settings    if you like, options of all runs
#   data        if you like, makes the folder `root` where it is missing, by
#               the function `type` with the rest as its arguments
#   references  if you like, what needs no training, see restorers.py
# Other names begin with an underscore.
base = '../quickstart/vheat-n_2e_digit-crops-32x32.py'
metric = dict(
    name='accuracy/top1',
    digits=1,
    label='top-1 (%) on the digit crops of val: a dot a seed, a line the mean',
)
# Nothing but the last checkpoint is of use, and not for long.
settings = {'default_hooks.checkpoint.interval': 2}
_make = 'mmvheat.datasets.make_digit_scenes'
data = dict(type=_make, root='data/digit_scenes')
_k, _law = 'model.backbone.k', 'model.backbone.propagator.type'
_frac, _wave = 'FractionalHeatPropagator', 'DampedWavePropagator'
variants = dict(
    heat=dict(title='heat, k predicted from the FVE'),
    k1=dict(title='heat, k = 1', options={_k: 1}),
    k5=dict(title='heat, k = 5', options={_k: 5}),
    k20=dict(title='heat, k = 20', options={_k: 20}),
    scalar=dict(title='heat, k a learned scalar', options={_k: 'scalar'}),
    k0=dict(title='nothing spreads, k = 0', options={_k: 0}),
    fractional=dict(title='fractional, alpha = 1', options={_law: _frac}),
    tail=dict(title='tail mix', options={_law: 'TailPropagator'}),
    wave=dict(title='damped wave, v = 1, alpha = 0.1', options={_law: _wave}),
)
