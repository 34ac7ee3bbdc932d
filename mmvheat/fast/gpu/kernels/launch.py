"""What all kernels share: how they are called, and the shape of a tile."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import triton
from torch import Tensor
from torch.library import triton_op, wrap_triton

# Since Triton 3.3 a compiled kernel takes what its function takes.
_KNOWS_COMPILED = tuple(map(int, triton.__version__.split('.')[:2])) >= (3, 3)
_compiled: dict[tuple, tuple] = {}


def operator(fake: Callable) -> Callable[[Callable], Callable]:
    """Register a function as an operator of torch.library.

    On a GPU it is called directly: the way through torch's dispatcher takes
    longer than most of the kernels.

    Args:
        fake (Callable): Makes outputs that have shapes alone.
    """

    def register(function: Callable) -> Callable:
        name = f'mmvheat::{function.__name__}'
        registered = triton_op(name, function, mutates_args={})
        registered.register_fake(fake)

        @functools.wraps(function)
        def run(x: Tensor, *args, **kwargs):
            direct = x.is_cuda and type(x) is Tensor
            direct = direct and not torch.compiler.is_compiling()
            return (function if direct else registered)(x, *args, **kwargs)

        return run

    return register


def launch(kernel: Callable, grid: tuple[int, ...], x: Tensor, *args, **sizes):
    """Run a kernel on a grid that may be empty; x is its first argument.

    Triton looks for the program it has compiled for the arguments at every
    call, in five times as long as the launch takes. So it is asked once.
    """
    if 0 in grid:
        return
    if not (x.is_cuda and type(x) is Tensor):
        wrap_triton(kernel)[grid](x, *args, **sizes)
        return
    args = (x, *args)
    # Programs differ by dtype, alignment and divisibility.
    key = kernel, x.get_device(), *map(_describe, args), *sizes.values()
    found = _compiled.get(key)
    if found is None:
        program = kernel[grid](*args, **sizes)
        if _KNOWS_COMPILED:
            if len(_compiled) >= 4096:
                _compiled.clear()
            rest = [sizes[name] for name in kernel.arg_names[len(args) :]]
            _compiled[key] = program, rest
        return
    program, rest = found
    program[grid + (1,) * (3 - len(grid))](*args, *rest)


def _describe(argument: Tensor | int | float) -> object:
    """Describe what a compiled program may depend on."""
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % 16
    return argument if isinstance(argument, int) else float


def divide(count: int, size: int) -> int:
    """Divide and round up; triton.cdiv takes as long as a launch."""
    return -(-count // size)


def cut(
    x: Tensor, elements: int = 4096, warp: int = 1024, tiles: int = 1
) -> tuple[tuple[int, int], dict[str, int]]:
    """Cut images (B, H, W, C) into tiles of whole cells.

    Args:
        x (Tensor): The images.
        elements (int): Of a tile.
        warp (int): Elements of a tile that a warp takes.
        tiles (int): Of a program, one after the other.

    Returns:
        tuple[tuple[int, int], dict[str, int]]: The grid, programs by images,
        and the sizes of a tile: R cells, C channels.
    """
    images, height, width, channels = x.shape
    columns = 1 << max(channels - 1, 0).bit_length()
    rows = max(1, elements // columns)
    sizes = dict(R=rows, C=columns, num_warps=max(1, rows * columns // warp))
    if tiles > 1:
        sizes['TILES'] = tiles
    return (divide(height * width, rows * tiles), images), sizes


def like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Make room for what has the shape of x, contiguous."""
    return x.new_empty(x.shape, dtype=dtype or x.dtype)


def make_parts(x: Tensor, tile: dict[str, int], sums: int = 2) -> Tensor:
    """Make room for some sums over the cells of each program.

    They are (sums, images, programs of an image, C).
    """
    (programs, images), _ = cut(x, **tile)
    shape = sums, images, programs, x.shape[-1]
    return x.new_empty(shape, dtype=torch.float32)
