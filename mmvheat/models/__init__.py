"""The vHeat backbone and its building blocks."""

from .heat_block import HeatBlock, HeatConduction, Mlp
from .official import mmdet_vheat, mmseg_vheat
from .vheat import vHeat

__all__ = [
    'HeatBlock',
    'HeatConduction',
    'Mlp',
    'mmdet_vheat',
    'mmseg_vheat',
    'vHeat',
]
