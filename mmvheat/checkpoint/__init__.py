"""Reading, converting, loading and writing checkpoints."""

from .architecture import BackboneInfo
from .converter import (
    convert_checkpoint,
    convert_to_downstream,
    get_grid,
    resize_freq_embeds,
    to_mmpretrain,
    to_official,
)
from .layout import Checkpoint, find_nonfinite, read_checkpoint
from .loader import LoadReport, adapt_state_dict, load_pretrained
from .reader import CheckpointError, read_file
from .resume import find_complete_checkpoint
from .resume_hook import ExactResumeHook, adapt_optimizer_state
from .scheme import register_safe_loader
from .summary import summarize_checkpoint
from .writer import check_target, hash_file, write_checkpoint

__all__ = [
    'BackboneInfo',
    'Checkpoint',
    'CheckpointError',
    'ExactResumeHook',
    'LoadReport',
    'adapt_optimizer_state',
    'adapt_state_dict',
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
    'register_safe_loader',
    'resize_freq_embeds',
    'summarize_checkpoint',
    'to_mmpretrain',
    'to_official',
    'write_checkpoint',
]
