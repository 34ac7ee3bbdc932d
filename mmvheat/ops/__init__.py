"""Heat conduction as pure functions of tensors (imports torch alone)."""

from .dct import dct_basis
from .freq_embed import resize_freq_embed
from .heat import (
    conduct_heat,
    filter_dct,
    get_compute_dtype,
    heat_decay,
    is_autocast,
)
from .tracing import has_symbolic_size, is_traced

__all__ = [
    'conduct_heat',
    'dct_basis',
    'filter_dct',
    'get_compute_dtype',
    'has_symbolic_size',
    'heat_decay',
    'is_autocast',
    'is_traced',
    'resize_freq_embed',
]
