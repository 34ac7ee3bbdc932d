"""Training and testing: configs made ready, checks, hooks.

Configs import it by ``custom_imports``. It registers what they can name:
hooks, an optimizer wrapper and its constructor, a test-time augmentation,
metrics of image quality, a strategy for sharded training and a file backend;
and it makes the changes to other libraries that :mod:`mmvheat.compat` lists.
"""

from mmvheat.compat import make_changes

from . import hooks
from .atomic_backend import AtomicBackend
from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .errors import UserError
from .image_quality import PSNR, SSIM
from .instance_tta_model import InstanceTTAModel
from .layer_decay_optim_wrapper_constructor import (
    LayerDecayOptimWrapperConstructor,
)
from .sharding import ShardedStrategy, shard_vheat

make_changes('checkpoints', 'hooks')

__all__ = [
    'AtomicBackend',
    'BFloat16OptimWrapper',
    'InstanceTTAModel',
    'LayerDecayOptimWrapperConstructor',
    'PSNR',
    'SSIM',
    'ShardedStrategy',
    'UserError',
    'hooks',
    'shard_vheat',
]
