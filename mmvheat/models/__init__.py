"""The vHeat backbone and its building blocks."""

from .heat_block import HeatBlock, HeatConduction, Mlp
from .official import mmdet_vheat, mmseg_vheat
from .propagators import build_propagator
from .vheat import vHeat
from .weights import adapt_state_dict

__all__ = [
    'HeatBlock',
    'HeatConduction',
    'Mlp',
    'adapt_state_dict',
    'build_propagator',
    'mmdet_vheat',
    'mmseg_vheat',
    'vHeat',
]
