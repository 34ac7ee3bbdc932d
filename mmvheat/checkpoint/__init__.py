"""Reading, converting, loading and writing checkpoints."""

from .arch import BackboneInfo
from .complete import check_complete
from .converter import (
    change_img_size,
    convert_checkpoint,
    convert_to_downstream,
    get_grid,
    to_mmpretrain,
    to_official,
)
from .layout import Checkpoint, find_nonfinite, read_checkpoint
from .loader import LoadReport, load_pretrained
from .reader import CheckpointError, read_file
from .resume import adapt_optimizer_state, find_complete_checkpoint
from .summary import summarize_checkpoint
from .writer import check_target, hash_file, write_checkpoint

__all__ = [
    'BackboneInfo',
    'Checkpoint',
    'CheckpointError',
    'LoadReport',
    'adapt_optimizer_state',
    'check_complete',
    'check_target',
    'convert_checkpoint',
    'convert_to_downstream',
    'find_complete_checkpoint',
    'find_nonfinite',
    'get_grid',
    'hash_file',
    'load_pretrained',
    'read_checkpoint',
    'read_file',
    'change_img_size',
    'summarize_checkpoint',
    'to_mmpretrain',
    'to_official',
    'write_checkpoint',
]
