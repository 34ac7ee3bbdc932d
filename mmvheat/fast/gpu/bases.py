"""Matrices of the cosine transform, which depend on sizes alone, kept.

On a GPU it takes ten kernels to build one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from mmvheat.ops import bicubic_weights, dct_basis
from mmvheat.ops.versions import is_compiling


def get_bases(
    x: Tensor, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Get the cosine bases of images (B, H, W, C), not to be written to."""
    dtype = dtype or x.dtype
    return tuple(_get(_build_basis, x, dtype, n) for n in x.shape[1:3])


def get_bicubic_weights(new: int, old: int, like: Tensor) -> Tensor:
    """Get :func:`mmvheat.ops.bicubic_weights`, not to be written to."""
    return _get(_build_bicubic_weights, like, like.dtype, new, old)


def _get(
    build: Callable, like: Tensor, dtype: torch.dtype, *sizes: int
) -> Tensor:
    """Get a kept matrix that depends on sizes alone, or build it."""
    stream = None
    if is_compiling():
        build = build.__wrapped__
    elif like.is_cuda and not torch.cuda.is_current_stream_capturing():
        # One stream must not read or free what another one has ordered.
        stream = torch.cuda.current_stream(like.device).cuda_stream
    elif like.device.type not in ('cpu', 'meta'):
        # What a graph allocates belongs to the graph.
        build = build.__wrapped__
    return build(*sizes, dtype, like.device, stream)


def _pad(matrix: Tensor) -> Tensor:
    """Let the rows of a matrix on a GPU start at multiples of 16 bytes.

    cuBLAS is up to twice as fast then.
    """
    rows, columns = matrix.shape
    if matrix.device.type == 'cpu' or columns % 8 == 0:
        return matrix
    padded = matrix.new_zeros(rows, columns + -columns % 8)
    padded[:, :columns] = matrix
    return padded[:, :columns]


# A tensor born in inference mode could not be used in training later.
@functools.lru_cache(maxsize=256)
@torch.inference_mode(False)
@torch.no_grad()
def _build_basis(
    n: int, dtype: torch.dtype, device: torch.device, stream: int | None
) -> Tensor:
    return _pad(dct_basis(n, dtype=dtype, device=device))


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
@torch.no_grad()
def _build_bicubic_weights(
    new: int,
    old: int,
    dtype: torch.dtype,
    device: torch.device,
    stream: int | None,
) -> Tensor:
    like = torch.empty((), dtype=dtype, device=device)
    return _pad(bicubic_weights(new, old, like))
