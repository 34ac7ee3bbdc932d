"""Whole models as programs that run where there is no OpenMMLab."""

from . import operators  # noqa: F401 (refuses a torch that is too old)
from .models import (
    build_backbone,
    build_model,
    choose_size,
    describe,
    list_training_images,
)
from .programs import Program, build_program
from .snapshot import load_snapshot, write_snapshot
from .write import export

__all__ = [
    'Program',
    'build_backbone',
    'build_model',
    'build_program',
    'choose_size',
    'describe',
    'export',
    'list_training_images',
    'load_snapshot',
    'write_snapshot',
]
