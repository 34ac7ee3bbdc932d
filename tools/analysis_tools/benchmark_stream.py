"""Evaluation of images of many sizes, for ``benchmark.py``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np
from benchmark_measure import time_once
from benchmark_memory import WARM_UP, count_held_bytes, forget
from benchmark_models import DTYPES, Size, Step, build_network


def iterate_stream_sizes(
    short: int = 800, long: int = 1333, divisor: int = 32, seed: int = 0
) -> Iterator[Size]:
    """Draw sizes as COCO's images have them in a detector, all different.

    Landscape and portrait images scaled to the short side, or to the long
    one where that would exceed it, padded to a multiple of the divisor.

    Yields:
        Size: Of one image; ends when all are drawn.
    """
    generator = np.random.default_rng(seed)
    seen = set()
    for _ in range(10_000):
        ratio = generator.triangular(1.0, 4 / 3, 3.0)
        scale = min(short, long / ratio)
        sides = [
            math.ceil(round(side) / divisor) * divisor
            for side in (scale, scale * ratio)
        ]
        if generator.random() < 0.3:
            sides.reverse()
        size = Size(1, *sides)
        if size not in seen:
            seen.add(size)
            yield size


def run_stream(
    name: str,
    dtype: str,
    sizes: Sequence[Size],
    fixed: Size,
    device: str = 'cpu',
    fixed_every: int = 5,
) -> dict:
    """Evaluate images of many sizes, and of one size between them.

    Args:
        name (str): Of the network.
        dtype (str): A key of DTYPES.
        sizes (Sequence[Size]): The stream.
        fixed (Size): The one size, run by a second network.
        device (str): ``'cpu'`` or ``'cuda'``. Defaults to 'cpu'.
        fixed_every (int): Images of the stream for one of the fixed size.
            Defaults to 5.

    Returns:
        dict: ``ratio``, the time of a pixel relative to the fixed size, and
        ``held``, the bytes of tensors that stay alive (parameters apart)
        before the stream and after each of its images.
    """
    network, other = (build_network(name).to(device) for _ in range(2))
    fixed_step = Step(other, 'eval', DTYPES[dtype], fixed)
    fixed_step.prepare()
    for _ in range(2):
        fixed_step()
    warm_up = Step(network, 'eval', DTYPES[dtype], Size(1, WARM_UP, WARM_UP))
    warm_up.prepare()
    warm_up()
    forget(network)
    del warm_up
    base = count_held_bytes()
    held, seconds, fixed_seconds = [0], 0.0, []
    for i, size in enumerate(sizes):
        if i % fixed_every == 0:
            fixed_seconds.append(time_once(fixed_step))
        step = Step(network, 'eval', DTYPES[dtype], size)
        seconds += time_once(step)
        del step
        held.append(count_held_bytes() - base)
    pixel = seconds / sum(size.pixels for size in sizes)
    fixed_pixel = statistics.median(fixed_seconds) / fixed.pixels
    return dict(
        model=name,
        dtype=dtype,
        sizes=[str(size) for size in sizes],
        fixed=str(fixed),
        ratio=pixel / fixed_pixel,
        held=held,
    )
