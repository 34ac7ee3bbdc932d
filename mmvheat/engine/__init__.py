"""Training and testing: configs made ready, checks, hooks, runners.

Importing it registers what a config can name: hooks, an optimizer wrapper
and its constructor, a test-time augmentation, a strategy for sharded training
and a file backend.
"""

from . import hooks
from .atomic_backend import AtomicBackend
from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .errors import UserError
from .instance_tta_model import InstanceTTAModel
from .layer_decay_optim_wrapper_constructor import (
    LayerDecayOptimWrapperConstructor,
)
from .sharding import ShardedStrategy, shard_vheat

__all__ = [
    'AtomicBackend',
    'BFloat16OptimWrapper',
    'InstanceTTAModel',
    'LayerDecayOptimWrapperConstructor',
    'ShardedStrategy',
    'UserError',
    'hooks',
    'shard_vheat',
]
