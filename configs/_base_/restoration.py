# What every restoration config shares: the run, and no library but mmengine.
_base_ = './hooks.py'
custom_imports = dict(
    imports=['mmvheat', 'mmvheat.engine', 'mmvheat.datasets.restoration'],
    allow_failed_imports=False,
)
default_scope = 'mmengine'
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
