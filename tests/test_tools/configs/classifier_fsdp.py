# Parameters, gradients and optimizer state sharded over the processes.
_base_ = 'classifier.py'
runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        use_orig_params=True,
        auto_wrap_policy='shard_vheat',
    ),
    state_dict_cfg='full',
)
