"""The vHeat backbone and its building blocks."""

from mmvheat.nn import HeatConduction2d, HeatConduction3d
from mmvheat.version import check_versions

check_versions()

from .heat_block import HeatBlock, HeatConduction, Mlp  # noqa: E402
from .official import mmdet_vheat, mmseg_vheat  # noqa: E402
from .propagators import build_propagator  # noqa: E402
from .restoration import DnCNN, vHeatIR  # noqa: E402
from .restorer import ImageRestorer  # noqa: E402
from .vheat import vHeat  # noqa: E402
from .weights import adapt_state_dict  # noqa: E402

__all__ = [
    'DnCNN',
    'HeatBlock',
    'HeatConduction',
    'HeatConduction2d',
    'HeatConduction3d',
    'ImageRestorer',
    'Mlp',
    'adapt_state_dict',
    'build_propagator',
    'mmdet_vheat',
    'mmseg_vheat',
    'vHeat',
    'vHeatIR',
]
