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
    planes = freq_embed.permute(2, 0, 1)[None]
    if not freq_embed.is_floating_point() or freq_embed.element_size() < 4:
        planes = planes.float()
    planes = F.interpolate(
        planes, size=(height, width), mode='bicubic', align_corners=False
    )
    return planes[0].permute(1, 2, 0).to(freq_embed.dtype)


def fit_freq_embed(freq_embed: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize by the ``'bicubic'`` rule, for features of any size.

    On a CPU as two products, as interpolation is linear and separable: equal
    to :func:`resize_freq_embed` but for rounding, and ten times as fast in
    the backward pass.

    Args:
        freq_embed (Tensor): Shape (H0, W0, C).
        size (tuple[int, int]): The grid (H, W) of the features.

    Returns:
        Tensor: Shape (H, W, C), in the dtype of ``freq_embed``.
    """
    if freq_embed.device.type != 'cpu' or is_traced(freq_embed):
        return resize_freq_embed(freq_embed, size, mode='bicubic')
    exact = freq_embed
    if exact.element_size() < 4:
        exact = exact.float()
    with torch.autocast('cpu', enabled=False):
        rows, columns = (
            F.interpolate(
                torch.eye(old, dtype=exact.dtype)[None, None],
                size=(new, old),
                mode='bicubic',
            )[0, 0]
            for old, new in zip(exact.shape, size)
        )
        resized = multiply_rows(rows, multiply_columns(columns, exact[None]))
    return resized.squeeze(0).to(freq_embed.dtype)
