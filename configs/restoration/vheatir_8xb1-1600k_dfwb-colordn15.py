# vHeatIR takes Gaussian noise of sigma 15 out of color images.
# Published: PSNR 35.6 on McMaster, as TailProp quotes it.
#
#   tools/dist_train.sh \
#       configs/restoration/vheatir_8xb1-1600k_dfwb-colordn15.py 8
#   tools/dist_test.sh \
#       configs/restoration/vheatir_8xb1-1600k_dfwb-colordn15.py CHECKPOINT 1
_base_ = './vheatir_8xb1-1600k_dfwb-graydn15.py'

# --- data -----------------------------------------------------------------
train_pipeline = _base_.train_pipeline
train_pipeline[0].color = 'rgb'
test_pipeline = _base_.test_pipeline
test_pipeline[0].color = 'rgb'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(data_prefix=dict(img_path='CBSD68'), pipeline=test_pipeline)
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
            for name in ('CBSD68', 'Kodak24', 'McMaster', 'Urban100')
        ],
    ),
)

# --- model ----------------------------------------------------------------
model = dict(network=dict(in_channels=3))
