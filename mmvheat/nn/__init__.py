"""Heat conduction as layers for any network: torch is all that they need.

``from mmvheat.nn import HeatConduction2d`` works without mmengine and mmcv.
"""

from .heat_conduction import HeatConduction2d, HeatConduction3d
from .init import init_linear_layers
from .laws import (
    DampedWavePropagator,
    FractionalHeatPropagator,
    TailPropagator,
)
from .propagator import HeatPropagator, Propagator, check_propagator
from .sources import PooledSource, make_source

__all__ = [
    'DampedWavePropagator',
    'FractionalHeatPropagator',
    'HeatConduction2d',
    'HeatConduction3d',
    'HeatPropagator',
    'PooledSource',
    'Propagator',
    'TailPropagator',
    'check_propagator',
    'init_linear_layers',
    'make_source',
]
