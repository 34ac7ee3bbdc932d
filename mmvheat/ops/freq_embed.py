"""Resizing of frequency value embeddings (FVE)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .products import multiply_columns, multiply_rows
from .tracing import is_traced


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
    # Bicubic weights in half precision would shift the frequencies.
    exact = freq_embed
    if not exact.is_floating_point() or exact.element_size() < 4:
        exact = exact.float()
    if exact.device.type == 'cpu' and not is_traced(exact):
        resized = _resize_by_products(exact, size)
    else:
        resized = F.interpolate(
            exact.permute(2, 0, 1)[None], size=size, mode='bicubic'
        )[0].permute(1, 2, 0)
    return resized.to(freq_embed.dtype)


def _resize_by_products(freq_embed: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize as two products: interpolation is linear and separable."""
    with torch.autocast('cpu', enabled=False):
        rows, columns = (
            F.interpolate(
                torch.eye(old, dtype=freq_embed.dtype)[None, None],
                size=(new, old),
                mode='bicubic',
            )[0, 0]
            for old, new in zip(freq_embed.shape, size)
        )
        return multiply_rows(
            rows, multiply_columns(columns, freq_embed[None])
        )[0]
