r"""Heat conduction in the cosine basis.

After Wang et al., *Building Vision Models upon Heat Conduction* (CVPR 2025,
arXiv 2405.16555), whose numbers the equations carry. Notation:

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

becomes, by a Fourier transform (2), one ordinary differential equation a
frequency. Its solution decays by itself,

.. math::
    \tilde u(\omega, t) = \tilde u_0(\omega)
    e^{-k (\omega_x^2 + \omega_y^2) t}, \quad (6)

and the inverse transform gives the general solution, (7). On a plate with
insulated borders the cosines are the eigenfunctions of :math:`\nabla^2`, so
that a cosine transform takes the place of Fourier's. In the paper's DCT form

.. math::
    u = IDCT_{2D}\left(e^{-k (\omega_n^2 + \omega_m^2)}
    DCT_{2D}(u_0)\right), \quad \omega_n = n\pi/H, \; \omega_m = m\pi/W .

This is the paper's heat conduction operator without its projections.
"""

import math

import torch
from torch import Tensor

from .dct import dct_basis, transform_2d
from .precision import get_compute_dtype, is_autocast


def conduct_heat(x: Tensor, k: Tensor) -> Tensor:
    """Let heat spread over every image, the paper's DCT form.

    Args:
        x (Tensor): Temperature before, shape (B, H, W, C).
        k (Tensor): Diffusivity times time of every frequency and channel,
            shape (H, W, C), non-negative; infinity leaves the mean.

    Returns:
        Tensor: Temperature after, shape (B, H, W, C), in the dtype of ``x``.
        Under autocast the transforms run in the autocast dtype and the
        result is in single precision.

    Raises:
        ValueError: If the shapes of ``x`` and ``k`` do not fit.
    """
    if x.dim() != 4 or x.shape[1:] != k.shape:
        raise ValueError(
            'conduct_heat expects x of shape (B, H, W, C) and k of shape '
            f'(H, W, C), but got {tuple(x.shape)} and {tuple(k.shape)}'
        )
    mean, rest = split_mean(x)
    rows, columns = (
        dct_basis(n, dtype=rest.dtype, device=x.device) for n in x.shape[1:3]
    )
    # For one image, the gradient of ``decay[None]`` is no sum over images.
    decay = heat_decay(k).to(rest.dtype)[None]
    spectrum = transform_2d(rest, rows, columns) * decay
    return mean + transform_2d(spectrum, rows.t(), columns.t())


def heat_decay(k: Tensor) -> Tensor:
    """Compute how much of every frequency is left, equation (6).

    Args:
        k (Tensor): Diffusivity times time, shape (H, W, C), non-negative.

    Returns:
        Tensor: Decay of every frequency and channel in [0, 1], shape
        (H, W, C); 1 at frequency (0, 0). At least single precision.
    """
    frequencies = squared_frequencies(k)
    k = k.to(frequencies.dtype)
    # An infinite k times the frequency (0, 0) would be no number.
    k = k.clamp(max=torch.finfo(k.dtype).max)
    return torch.exp(-k * frequencies)


def squared_frequencies(like: Tensor) -> Tensor:
    """Compute the squared angular frequencies of equation (6).

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


def split_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Take the mean out of every image.

    Heat conduction keeps it, decay(0, 0) = 1, so conduct(x) = mean +
    conduct(x - mean). Without the mean, whose coefficient sqrt(H*W)*mean
    would swamp all others, half precision and TF32 keep their digits. The
    identity holds for any constant, so the mean has no gradient.

    Args:
        x (Tensor): Images, shape (B, H, W, C).

    Returns:
        tuple[Tensor, Tensor]: Mean of every image, shape (B, 1, 1, C), in
        the dtype of ``x``, under autocast in single precision, and what is
        left, shape (B, H, W, C), in the dtype that products run in.
    """
    images = x.detach()
    if x.dtype == torch.float16:  # Its sum might overflow.
        mean = images.mean((1, 2), keepdim=True, dtype=torch.float32)
        mean = mean.to(x.dtype)
    else:
        # Single precision inside, without the copy that torch's mean makes.
        mean = images.sum((1, 2), keepdim=True) / (x.shape[1] * x.shape[2])
    rest = (x - mean).to(get_compute_dtype(x))
    return mean.to(torch.float32) if is_autocast(x) else mean, rest
