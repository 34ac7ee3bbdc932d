# vHeatIR takes the artefacts of JPEG, quality 20, out of gray images.
# Published: no result.
#
#   tools/dist_train.sh \
#       configs/restoration/vheatir_8xb1-1600k_dfwb-jpeg20.py 8
#   tools/dist_test.sh \
#       configs/restoration/vheatir_8xb1-1600k_dfwb-jpeg20.py CHECKPOINT 1
_base_ = './vheatir_8xb1-1600k_dfwb-jpeg10.py'
train_pipeline = _base_.train_pipeline
train_pipeline[2].quality = 20
test_pipeline = _base_.test_pipeline
test_pipeline[1].quality = 20
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = _base_.test_dataloader
for dataset in test_dataloader.dataset.datasets:
    dataset.pipeline = test_pipeline
