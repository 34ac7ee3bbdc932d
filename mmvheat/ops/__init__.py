"""The paper's mathematics as pure functions of tensors (torch alone).

They run on any device, in any dtype and in any recorded program, and keep
nothing between calls.
"""

from .dct import dct_basis, transform
from .freq_embed import bicubic_weights, resize_freq_embed
from .heat import (
    conduct_heat,
    heat_decay,
    heat_response,
    propagate,
    split_mean,
    squared_frequencies,
)
from .precision import get_compute_dtype, is_autocast, no_autocast
from .propagators import fractional_response, tail_response, wave_response

__all__ = [
    'bicubic_weights',
    'conduct_heat',
    'dct_basis',
    'fractional_response',
    'get_compute_dtype',
    'heat_decay',
    'heat_response',
    'is_autocast',
    'no_autocast',
    'propagate',
    'resize_freq_embed',
    'split_mean',
    'squared_frequencies',
    'tail_response',
    'transform',
    'wave_response',
]
