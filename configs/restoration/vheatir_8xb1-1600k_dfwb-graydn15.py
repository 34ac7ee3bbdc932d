# vHeatIR takes Gaussian noise of sigma 15 out of gray images.
# Published: PSNR 33.37 on Set12, as TailProp quotes it.
#
#   tools/dist_train.sh \
#       configs/restoration/vheatir_8xb1-1600k_dfwb-graydn15.py 8
#   tools/dist_test.sh \
#       configs/restoration/vheatir_8xb1-1600k_dfwb-graydn15.py CHECKPOINT 1
_base_ = '../_base_/restoration.py'

# --- data: where it goes, see README.md -----------------------------------
data_root = 'data/restoration'
train_pipeline = [
    dict(type='LoadPhotograph', color='gray'),
    dict(type='RandomPatch', size=128),
    dict(type='AddGaussianNoise', sigma=15),
    dict(type='PackRestoration'),
]
test_pipeline = [
    dict(type='LoadPhotograph', color='gray'),
    dict(type='AddGaussianNoise', sigma=15, seed=0),
    dict(type='PackRestoration'),
]
train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='RestorationDataset',
        data_root=data_root,
        data_prefix=dict(img_path='DFWB'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='RestorationDataset',
        data_root=data_root,
        data_prefix=dict(img_path='Set12'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='RestorationDataset',
                data_root=data_root,
                data_prefix=dict(img_path=name),
                pipeline=test_pipeline,
            )
            for name in ('Set12', 'BSD68', 'Urban100')
        ],
    ),
)
val_evaluator = [dict(type='PSNR'), dict(type='SSIM')]
test_evaluator = val_evaluator

# --- model: six groups of six blocks, 180 channels ------------------------
model = dict(
    type='ImageRestorer',
    network=dict(
        type='vHeatIR',
        in_channels=1,
        embed_dims=180,
        depths=(6, 6, 6, 6, 6, 6),
        mlp_ratio=2.0,
        grid=128,
        drop_path_rate=0.1,
    ),
)

# --- schedule of SwinIR: 1.6 M iterations, Adam 2e-4, halved --------------
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-4, betas=(0.9, 0.999)),
)
param_scheduler = dict(
    type='MultiStepLR',
    by_epoch=False,
    milestones=[800_000, 1_200_000, 1_400_000, 1_500_000],
    gamma=0.5,
)
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=1_600_000, val_interval=5000
)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [dict(type='EMAHook', momentum=1e-3)]
default_hooks = dict(
    _base_.vheat_hooks,
    logger=dict(type='LoggerHook', interval=200, log_metric_by_epoch=False),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=5000,
        max_keep_ckpts=2,
        backend_args=dict(backend='atomic'),
    ),
)
auto_scale_lr = dict(base_batch_size=8)
