"""How a model bears what it was not trained on.

Registers data sets, transforms and metrics that ``tools/robustness.py`` and
``configs/robustness/datasets`` name.
"""

from .dataset import ImageNetVariant
from .evaluators import ShapeBias, SubsetAccuracy
from .transforms import CorruptImage, CropBorder, FilterFrequencies

__all__ = [
    'CorruptImage',
    'CropBorder',
    'FilterFrequencies',
    'ImageNetVariant',
    'ShapeBias',
    'SubsetAccuracy',
]
