# Parameters, gradients and optimizer state sharded over the processes.
_base_ = 'classifier.py'
runner_type = 'FlexibleRunner'
strategy = dict(type='ShardedStrategy')
