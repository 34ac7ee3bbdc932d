"""The orthonormal DCT-II basis."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from .tracing import is_traced


def dct_basis(
    n: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
) -> Tensor:
    r"""Build the orthonormal DCT-II matrix.

    .. math::
        D[m, x] = \sqrt{2/N} \cos\left(\frac{(x + 0.5) m \pi}{N}\right),
        \quad D[0, x] = \sqrt{1/N}

    so that ``D @ x`` is the DCT-II of ``x`` (``scipy.fft.dct`` with
    ``norm='ortho'``) and ``D.T @ X`` its inverse.

    Args:
        n (int): Number of samples N, at least 1.
        dtype (torch.dtype): Floating point type. Defaults to torch.float32.
        device (str | torch.device, optional): Where to build the matrix.
            Defaults to None, torch's default device.

    Returns:
        Tensor: Shape (n, n); row m holds frequency m, column x sample x.
    """
    index = torch.arange(n, device=device)
    # A tensor, because n may be a symbol in a traced program.
    count = torch.full((1, 1), n, device=device)
    # The cosine's period is 4n in units of pi/2n. Integer arithmetic keeps
    # the angle exact where frequency * sample would overflow the mantissa.
    angle = index[:, None] * (2 * index + 1) % (4 * count)
    half = dtype in (torch.float16, torch.bfloat16)
    exact = torch.float32 if half else dtype
    basis = torch.cos(angle.to(exact) * (math.pi / 2) / count)
    basis = torch.where(index[:, None] == 0, math.sqrt(0.5), basis)
    return (basis * torch.sqrt(2 / count.to(exact))).to(dtype)


def get_dct_basis(n: int, like: Tensor) -> Tensor:
    """Get :func:`dct_basis` from a cache of at most 256 matrices.

    Args:
        n (int): Number of samples N.
        like (Tensor): Any tensor of the wanted dtype and device.

    Returns:
        Tensor: Shape (n, n), not to be written to.
    """
    if is_traced(like):
        return dct_basis(n, dtype=like.dtype, device=like.device)
    return _cached_dct_basis(n, like.dtype, like.device)


@functools.lru_cache(maxsize=256)
def _cached_dct_basis(
    n: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    # A tensor born in inference mode could not be used in training later.
    with torch.inference_mode(False), torch.no_grad():
        return dct_basis(n, dtype=dtype, device=device)
