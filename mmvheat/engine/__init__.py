"""What a training or a test registers.

Configs import it by ``custom_imports``. It registers what they can name:
hooks, an optimizer wrapper and its constructor, a test-time augmentation,
metrics of image quality, a strategy for sharded training and a file backend;
and it makes the changes to other libraries that :mod:`mmvheat.compat` lists.
"""

import mmvheat.evaluation  # noqa: F401
from mmvheat.compat import make_changes
from mmvheat.errors import UserError

from . import hooks
from .atomic_backend import AtomicBackend
from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .instance_tta_model import InstanceTTAModel
from .layer_decay_optim_wrapper_constructor import (
    LayerDecayOptimWrapperConstructor,
)
from .sharding import ShardedStrategy, shard_vheat

make_changes('checkpoints', 'hooks', 'memory')

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
