# vHeatIR takes the artefacts of JPEG, quality 10, out of gray images.
# Published: no result.
#
#   tools/dist_train.sh \
#       configs/restoration/vheatir_8xb1-1600k_dfwb-jpeg10.py 8
#   tools/dist_test.sh \
#       configs/restoration/vheatir_8xb1-1600k_dfwb-jpeg10.py CHECKPOINT 1
_base_ = './vheatir_8xb1-1600k_dfwb-graydn15.py'

# --- data: cut again behind the compression, anywhere in its blocks of 8 --
train_pipeline = [
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='LoadPhotograph', color=color)]
            for color in ('gray', 'y')
        ],
    ),
    dict(type='RandomPatch', size=134),
    dict(type='CompressJPEG', quality=10),
    dict(type='RandomPatch', size=126, flip=False),
    dict(type='PackRestoration'),
]
test_pipeline = [
    dict(type='LoadPhotograph', color='y'),
    dict(type='CompressJPEG', quality=10),
    dict(type='PackRestoration'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(data_prefix=dict(img_path='Classic5'), pipeline=test_pipeline)
)
test_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                type='RestorationDataset',
                data_root=_base_.data_root,
                data_prefix=dict(img_path=name),
                pipeline=test_pipeline,
            )
            for name in ('Classic5', 'LIVE1')
        ],
    ),
)

# --- model ----------------------------------------------------------------
model = dict(network=dict(grid=126))
