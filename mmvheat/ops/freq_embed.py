"""Resizing of frequency value embeddings (FVE)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .dct import transform
from .precision import no_autocast


def resize_freq_embed(
    freq_embed: Tensor,
    size: Sequence[int],
    mode: str = 'pad',
    get_weights: Callable[[int, int, Tensor], Tensor] | None = None,
) -> Tensor:
    """Resize a frequency value embedding to another grid.

    Args:
        freq_embed (Tensor): Shape (H0, W0, C), entry (n, m) is of the row
            frequency n*pi/H0 and the column frequency m*pi/W0; of a rod it
            has one size, of a volume three.
        size (Sequence[int]): The new grid (H, W), as many sizes.
        mode (str): ``'pad'`` keeps the frequency *index*: new high ones are
            zeros, surplus ones are cropped (vHeat's conversion of
            checkpoints). ``'bicubic'`` keeps the *normalised frequency* by
            interpolation without aligned corners (vHeat at run time).
            Defaults to 'pad'.
        get_weights (Callable, optional): What to take for
            :func:`bicubic_weights`. Defaults to None.

    Returns:
        Tensor: Shape (H, W, C), in the dtype of ``freq_embed``.

    Raises:
        ValueError: If ``mode`` is unknown or the numbers of sizes differ.

    Example:
        >>> classifier = torch.ones(56, 56, 96)
        >>> detector = resize_freq_embed(classifier, (128, 128))
        >>> detector[55, 55, 0], detector[56, 56, 0]
        (tensor(1.), tensor(0.))
    """
    if mode not in ('pad', 'bicubic'):
        raise ValueError(f"mode must be 'pad' or 'bicubic', but got {mode!r}")
    size = tuple(size)
    if freq_embed.dim() != len(size) + 1:
        raise ValueError(
            'freq_embed must have the shape (H, W, C), as many sizes as the '
            f'new grid, but got {tuple(freq_embed.shape)} and {size}'
        )
    if mode == 'pad':
        added = [0, 0]
        for new, old in zip(reversed(size), reversed(freq_embed.shape[:-1])):
            added += [0, new - old]
        return F.pad(freq_embed, added)
    # Interpolation is linear and separable. Two products are faster than
    # torch's own gradient, and deterministic on a GPU. Weights in half
    # precision would shift the frequencies.
    exact = freq_embed
    if not exact.is_floating_point() or exact.element_size() < 4:
        exact = exact.float()
    with no_autocast(freq_embed):
        weights = [
            (get_weights or bicubic_weights)(new, old, exact)
            for new, old in zip(size, exact.shape)
        ]
        resized = transform(exact[None], *weights)
    return resized.squeeze(0).to(freq_embed.dtype)


def bicubic_weights(new: int, old: int, like: Tensor) -> Tensor:
    """Compute the weights (new, old) of old samples, in the dtype of like."""
    samples = torch.eye(old, dtype=like.dtype, device=like.device)[None, None]
    return F.interpolate(samples, size=(new, old), mode='bicubic')[0, 0]
