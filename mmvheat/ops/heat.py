r"""Heat conduction, and propagation by any other law, in the cosine basis.

After Wang et al., *Building Vision Models upon Heat Conduction* (CVPR 2025,
arXiv 2405.16555), whose numbers the equations carry. Notation:

=======  ================================================================
B, C     images in the batch, channels
H, W     rows and columns of features, a plate with insulated borders
n, m     row and column frequency, 0 <= n < H and 0 <= m < W
u_0, u   temperature before and after, (B, H, W, C)
k        thermal diffusivity times time, (H, W, C), k >= 0: the paper
         predicts one for every frequency and channel
s        squared angular frequency, (H, W, 1)
=======  ================================================================

The heat equation (1) becomes, by a Fourier transform (2), one ordinary
differential equation a frequency. Its solution decays by itself (6), and the
inverse transform gives the general solution (7):

.. math::
    \partial u / \partial t &= k \nabla^2 u & (1) \\
    \tilde u(\omega, t) &= \tilde u_0(\omega)
    e^{-k (\omega_x^2 + \omega_y^2) t} & (6)

On a plate with insulated borders the cosines are the eigenfunctions of
:math:`\nabla^2`, so that a cosine transform takes the place of Fourier's. In
the paper's DCT form, its operator without the projections,

.. math::
    u = IDCT_{2D}\left(e^{-k (\omega_n^2 + \omega_m^2)}
    DCT_{2D}(u_0)\right), \quad \omega_n = n\pi/H, \; \omega_m = m\pi/W .

A rod (B, L, C) and a volume (B, D, H, W, C) have one and three terms in
:math:`s = \sum_d \omega_d^2`; for laws other than heat see
:mod:`mmvheat.ops.propagators`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .dct import dct_basis, transform
from .precision import get_compute_dtype, is_autocast


def conduct_heat(x: Tensor, k: Tensor) -> Tensor:
    """Let heat spread over every image, the paper's DCT form.

    Args:
        x (Tensor): Temperature before, shape (B, H, W, C); of a rod
            (B, L, C), of a volume (B, D, H, W, C).
        k (Tensor): Diffusivity times time of every frequency and channel,
            the shape of one image, non-negative; infinity leaves the mean.

    Returns:
        Tensor: Temperature after, in the shape and dtype of ``x``; under
        autocast, whose dtype the transforms then have, in single precision.

    Raises:
        ValueError: If the shapes of ``x`` and ``k`` do not fit.
        TypeError: If ``x`` holds integers.

    Example:
        >>> x = torch.rand(1, 8, 8, 3)
        >>> y = conduct_heat(x, torch.full((8, 8, 3), 1e4))
        >>> torch.allclose(y, x.mean((1, 2), keepdim=True).expand_as(x))
        True
    """
    if x.dim() < 3 or x.shape[1:] != k.shape:
        raise ValueError(
            'conduct_heat expects x of shape (B, H, W, C) and k of shape '
            '(H, W, C), or both with one size or three instead of H and W, '
            f'but got {tuple(x.shape)} and {tuple(k.shape)}'
        )
    return propagate(x, heat_decay(k))


def propagate(
    x: Tensor, response: Tensor, *, keeps_mean: bool = True
) -> Tensor:
    """Multiply every frequency of every image by a response.

    Args:
        x (Tensor): Shape (B, H, W, C), or with one size or three.
        response (Tensor): Shape (H, W, C) or, where it differs between
            images, (B, H, W, C); sizes of 1 are broadcast.
        keeps_mean (bool): The response is 1 at frequency (0, 0), else the
            mean is multiplied by what it is there. Defaults to True.

    Returns:
        Tensor: In the shape and precision of :func:`conduct_heat`.

    Raises:
        TypeError: If ``x`` holds integers.

    Example:
        A law of your own, the plate at rest under a constant source:

        >>> x = torch.rand(2, 16, 16, 4)
        >>> s = squared_frequencies((16, 16))
        >>> propagate(x, 1 / (1 + 5 * s)).shape
        torch.Size([2, 16, 16, 4])
    """
    if response.dim() < x.dim():
        # For one image, its gradient then is no sum over images.
        response = response[None]
    mean, rest = split_mean(x)
    if not keeps_mean:
        zero = (slice(None), *[slice(1)] * (x.dim() - 2))
        mean = (mean * response[zero]).to(mean.dtype)
    bases = [
        dct_basis(n, dtype=rest.dtype, device=x.device) for n in x.shape[1:-1]
    ]
    spectrum = transform(rest, *bases) * response.to(rest.dtype)
    return mean + transform(spectrum, *(basis.t() for basis in bases))


def heat_decay(k: Tensor) -> Tensor:
    """Compute how much of every frequency is left, equation (6).

    Args:
        k (Tensor): Diffusivity times time, shape (H, W, C) or with one size
            or three, non-negative.

    Returns:
        Tensor: Decay of every frequency and channel in [0, 1], in the shape
        of ``k``, in single precision or better; 1 at frequency (0, 0).

    Example:
        >>> heat_decay(torch.ones(2, 2, 1))[..., 0]
        tensor([[1.0000, 0.0848],
                [0.0848, 0.0072]])
    """
    s = squared_frequencies(k.shape[:-1], dtype=k.dtype, device=k.device)
    return heat_response(s, k)


def heat_response(s: Tensor, k: Tensor | float) -> Tensor:
    """Compute exp(-k s), equation (6).

    Args:
        s (Tensor): Squared frequencies, see :func:`squared_frequencies`.
        k (Tensor | float): Diffusivity times time, non-negative; infinity
            leaves nothing but frequency 0.

    Returns:
        Tensor: In [0, 1], 1 at s = 0, in the dtype of ``s`` and ``k``.
    """
    if not isinstance(k, Tensor):
        k = s.new_full((), k)
    k = k.to(torch.promote_types(s.dtype, k.dtype))
    # An infinite k times the frequency (0, 0) would be no number.
    k = k.clamp(max=torch.finfo(k.dtype).max)
    return torch.exp(-k * s)


def squared_frequencies(
    sizes: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
) -> Tensor:
    """Compute the squared angular frequencies of equation (6).

    Args:
        sizes (Sequence[int]): Of the features, (H, W) or one or three sizes.
        dtype (torch.dtype): At least single precision is taken.
            Defaults to torch.float32.
        device (str | torch.device, optional): Defaults to None, torch's
            default device.

    Returns:
        Tensor: s, shape (H, W, 1), in (radians per cell) squared.
    """
    dtype = torch.promote_types(dtype, torch.float32)
    total = None
    for size in sizes:
        n = torch.arange(size, device=device, dtype=dtype)
        squares = (n * math.pi / size).square()
        total = squares if total is None else total[..., None] + squares
    return total[..., None]


def split_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Take the mean out of every image.

    Heat conduction keeps it, decay(0, 0) = 1, so conduct(x) = mean +
    conduct(x - mean). Without the mean, whose coefficient sqrt(H*W)*mean
    would swamp all others, half precision and TF32 keep their digits. The
    identity holds for any constant, so the mean has no gradient.

    Args:
        x (Tensor): Images, shape (B, H, W, C), or with one size or three.

    Returns:
        tuple[Tensor, Tensor]: Mean of every image, shape (B, 1, 1, C), in
        the dtype of ``x``, under autocast in single precision, and what is
        left, in the shape of ``x``, in the dtype that products run in.

    Raises:
        TypeError: If these are integers, which would round to nothing.
    """
    if not (x.is_floating_point() or x.is_complex()):
        raise TypeError(
            f'features must be floating point numbers, but got {x.dtype}; '
            'take x.float()'
        )
    images, axes = x.detach(), tuple(range(1, x.dim() - 1))
    if x.dtype == torch.float16:  # Its sum might overflow.
        mean = images.mean(axes, keepdim=True, dtype=torch.float32)
        mean = mean.to(x.dtype)
    else:
        # Single precision inside, without the copy that torch's mean makes.
        cells = 1
        for size in x.shape[1:-1]:
            cells = cells * size
        mean = images.sum(axes, keepdim=True) / cells
    rest = (x - mean).to(get_compute_dtype(x))
    return mean.to(torch.float32) if is_autocast(x) else mean, rest
