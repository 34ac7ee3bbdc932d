"""Heat conduction as pure functions of tensors (imports torch alone)."""

from .dct import dct_basis
from .freq_embed import fit_freq_embed, resize_freq_embed
from .heat import (
    conduct_heat,
    filter_dct,
    filter_fluctuation,
    heat_decay,
    squared_frequencies,
)
from .precision import get_compute_dtype, is_autocast
from .products import linear, pack_weight
from .tokens import map_tokens
from .tracing import has_symbolic_size, is_traced

__all__ = [
    'conduct_heat',
    'dct_basis',
    'filter_dct',
    'filter_fluctuation',
    'fit_freq_embed',
    'get_compute_dtype',
    'has_symbolic_size',
    'heat_decay',
    'is_autocast',
    'is_traced',
    'linear',
    'map_tokens',
    'pack_weight',
    'resize_freq_embed',
    'squared_frequencies',
]
