"""Resizing of frequency value embeddings (FVE)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .dct import transform_2d
from .precision import autocast_state


def resize_freq_embed(
    freq_embed: Tensor, size: tuple[int, int], mode: str = 'pad'
) -> Tensor:
    """Resize a frequency value embedding to another grid.

    Args:
        freq_embed (Tensor): Shape (H0, W0, C), entry (n, m) belongs to the
            row frequency n*pi/H0 and the column frequency m*pi/W0.
        size (tuple[int, int]): The new grid (H, W).
        mode (str): ``'pad'`` keeps the frequency *index*: new high
            frequencies are zeros, surplus ones are cropped (the rule of
            vHeat's conversion of classification checkpoints).
            ``'bicubic'`` keeps the *normalised frequency* by interpolation
            without aligned corners (vHeat's rule at run time).
            Defaults to 'pad'.

    Returns:
        Tensor: Shape (H, W, C), in the dtype of ``freq_embed``.

    Raises:
        ValueError: If ``mode`` is unknown or ``freq_embed`` is not 3-D.
    """
    if mode not in ('pad', 'bicubic'):
        raise ValueError(f"mode must be 'pad' or 'bicubic', but got {mode!r}")
    if freq_embed.dim() != 3:
        raise ValueError(
            'freq_embed must have the shape (H, W, C), but got '
            f'{tuple(freq_embed.shape)}'
        )
    height, width = size
    if mode == 'pad':
        rows = height - freq_embed.shape[0]
        columns = width - freq_embed.shape[1]
        return F.pad(freq_embed, (0, 0, 0, columns, 0, rows))
    # Interpolation is linear and separable. Two products are faster than
    # torch's own gradient, and deterministic on a GPU. Weights in half
    # precision would shift the frequencies.
    exact = freq_embed
    if not exact.is_floating_point() or exact.element_size() < 4:
        exact = exact.float()
    with torch.autocast(**autocast_state(freq_embed, enabled=False)):
        rows = _bicubic_weights(height, exact.shape[0], exact)
        columns = _bicubic_weights(width, exact.shape[1], exact)
        resized = transform_2d(exact[None], rows, columns)
    return resized.squeeze(0).to(freq_embed.dtype)


def _bicubic_weights(new: int, old: int, like: Tensor) -> Tensor:
    """Weights (new, old) of old samples for new ones."""
    samples = torch.eye(old, dtype=like.dtype, device=like.device)
    return F.interpolate(samples[None, None], size=(new, old), mode='bicubic')[
        0, 0
    ]
