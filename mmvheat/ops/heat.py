r"""Heat conduction in the cosine basis.

After Wang et al., *Building Vision Models upon Heat Conduction* (CVPR 2025,
arXiv 2405.16555); the numbers of equations are those of this file.

Notation:

==============  ==========================================================
B, C            images in the batch, channels
H, W            rows and columns of the feature map, a plate of H x W cells
                with insulated borders
n, m            row and column frequency, 0 <= n < H and 0 <= m < W
:math:`u_0`     temperature before, (B, H, W, C)
:math:`u`       temperature after, (B, H, W, C)
k               thermal diffusivity times time, (H, W, C), k >= 0: the paper
                predicts one for every frequency and channel
==============  ==========================================================

The heat equation

.. math::
    \partial u / \partial t = k \nabla^2 u \quad (1)

splits into one equation a frequency, as the cosines are the eigenfunctions of
:math:`\nabla^2` on such a plate. Each coefficient decays by itself:

.. math::
    d_{nm} = e^{-k_{nm} (\omega_n^2 + \omega_m^2)},
    \quad \omega_n = n\pi/H, \; \omega_m = m\pi/W \quad (2)

.. math::
    u = IDCT_{2D}\left(d \, DCT_{2D}(u_0)\right) \quad (3)

This is the paper's heat conduction operator without its projections.
"""

import math

import torch
from torch import Tensor

from .dct import get_dct_basis
from .precision import get_compute_dtype, is_autocast
from .products import multiply_columns, multiply_rows

_HALF = (torch.float16, torch.bfloat16)


def conduct_heat(x: Tensor, k: Tensor) -> Tensor:
    """Let heat spread over every image, equations (2) and (3).

    Args:
        x (Tensor): Temperature before, shape (B, H, W, C).
        k (Tensor): Diffusivity times time of every frequency and channel,
            shape (H, W, C), non-negative.

    Returns:
        Tensor: Temperature after, shape (B, H, W, C), see
        :func:`filter_dct` for its dtype.

    Raises:
        ValueError: If the shapes of ``x`` and ``k`` do not fit.
    """
    if x.dim() != 4 or x.shape[1:] != k.shape:
        raise ValueError(
            'conduct_heat expects x of shape (B, H, W, C) and k of shape '
            f'(H, W, C), but got {tuple(x.shape)} and {tuple(k.shape)}'
        )
    return filter_dct(x, heat_decay(k))


def heat_decay(k: Tensor) -> Tensor:
    """Compute how much of every frequency is left, equation (2).

    Args:
        k (Tensor): Diffusivity times time, shape (H, W, C), non-negative.

    Returns:
        Tensor: Decay of every frequency and channel in [0, 1], shape
        (H, W, C); 1 at frequency (0, 0). At least single precision.
    """
    return torch.exp(-k * squared_frequencies(k))


def squared_frequencies(like: Tensor) -> Tensor:
    """Compute the squared angular frequencies of equation (2).

    Args:
        like (Tensor): Any tensor of shape (H, W, ...).

    Returns:
        Tensor: Shape (H, W, 1), in (radians per cell) squared, in the dtype
        of ``like`` but at least in single precision.
    """
    height, width = like.shape[:2]
    dtype = torch.promote_types(like.dtype, torch.float32)
    n = torch.arange(height, device=like.device, dtype=dtype)
    m = torch.arange(width, device=like.device, dtype=dtype)
    rows = (n * math.pi / height).square()
    columns = (m * math.pi / width).square()
    return (rows[:, None] + columns)[..., None]


def filter_dct(x: Tensor, decay: Tensor) -> Tensor:
    """Multiply the 2-D cosine spectrum of every image, equation (3).

    Args:
        x (Tensor): Images, shape (B, H, W, C).
        decay (Tensor): Factor of every frequency, shape (H, W, C), 1 at
            frequency (0, 0).

    Returns:
        Tensor: Shape (B, H, W, C), in the dtype of ``x``. Under autocast the
        transforms run in the autocast dtype and the result is in single
        precision.
    """
    mean, rest = filter_fluctuation(x, decay)
    if mean is None:
        return rest
    return mean.to(torch.float32 if is_autocast(x) else x.dtype) + rest


def filter_fluctuation(
    x: Tensor, decay: Tensor
) -> tuple[Tensor | None, Tensor]:
    """Multiply the 2-D cosine spectrum, less the mean in half precision.

    As d(0, 0) = 1, heat(x) = mean + heat(x - mean). Without the mean, whose
    coefficient sqrt(H*W)*mean would swamp all others, half precision keeps
    its digits. The identity holds for any constant in place of the mean, so
    the mean itself has no gradient.

    Args:
        x (Tensor): Images, shape (B, H, W, C).
        decay (Tensor): Factor of every frequency, shape (H, W, C), 1 at
            frequency (0, 0).

    Returns:
        tuple[Tensor | None, Tensor]: Mean of every image, shape
        (B, 1, 1, C), in the dtype of ``x``, and what is to be added to it,
        shape (B, H, W, C), in the dtype of the transforms. None where the
        mean was left in.
    """
    dtype = get_compute_dtype(x)
    if dtype not in _HALF:
        return None, _transform(x.to(dtype), decay.to(dtype))
    mean = _mean(x.detach())
    return mean, _transform((x - mean).to(dtype), decay.to(dtype))


def _mean(x: Tensor) -> Tensor:
    """Average images (B, H, W, C) to (B, 1, 1, C)."""
    if x.dtype == torch.float16:  # Its sum might overflow.
        return x.mean((1, 2), keepdim=True, dtype=torch.float32).to(x.dtype)
    # Single precision inside, without the copy that torch's mean makes.
    return x.sum((1, 2), keepdim=True) / (x.shape[1] * x.shape[2])


def _transform(x: Tensor, decay: Tensor) -> Tensor:
    """DCT along H and W, decay, inverse DCT; x (B, H, W, C)."""
    rows = get_dct_basis(x.shape[1], x)
    columns = get_dct_basis(x.shape[2], x)
    # For one image, the gradient of ``decay[None]`` is no sum over images.
    x = multiply_columns(columns, multiply_rows(rows, x)) * decay[None]
    return multiply_rows(rows.t(), multiply_columns(columns.t(), x))
