"""The orthonormal DCT-II basis, and products along axes of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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

    Example:
        >>> basis = dct_basis(4)
        >>> torch.allclose(basis @ basis.T, torch.eye(4), atol=1e-6)
        True
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


def transform(x: Tensor, *matrices: Tensor) -> Tensor:
    """Multiply features by a matrix along every axis in space.

    With DCT bases it is the DCT-II in one, two, three or more dimensions,
    with their transposes the inverse.

    Args:
        x (Tensor): Shape ``(B, *sizes, C)``, any strides.
        matrices (Tensor): One of shape (N, size) for every axis.

    Returns:
        Tensor: Shape (B, N, M, ..., C).
    """
    # From the last axis on, so that a view of some channels needs no copy.
    first, *others = matrices
    if others:
        x = transform(x.flatten(0, 1), *others).unflatten(0, x.shape[:2])
    sizes = x.shape[2:]
    x = torch.matmul(first, x.flatten(2))
    if len(sizes) == 1:
        return x
    # Through one dimension, so that torch.export can prove for any symbolic
    # width that W*C divides into W and C.
    flat = x.reshape(-1).reshape(-1, sizes[-1])
    return flat.reshape(*x.shape[:2], *sizes)
