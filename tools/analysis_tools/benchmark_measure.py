"""Time, FLOPs and the machine's limit, for ``benchmark.py``."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from benchmark_models import Size, Step, build_network, is_whole, split_name
from complexity import FlopCounter
from complexity import count_flops as count_backbone_flops
from torch.nn.attention import SDPBackend, sdpa_kernel

GEMM_SIZE = 2048
MIN_SECONDS = 0.1


def time_interleaved(
    actions: Mapping[str, Callable[[], object]],
    repeats: int,
    min_seconds: float = MIN_SECONDS,
) -> dict[str, list[float]]:
    """Time actions in turn, so that noise hits all alike.

    Every round runs each of them, short ones several times on end; each
    round starts with another one.

    Args:
        actions (Mapping): What to time, run before.
        repeats (int): Rounds.
        min_seconds (float): Least time of a measurement.
            Defaults to MIN_SECONDS.

    Returns:
        dict[str, list[float]]: Seconds of each action in each round.
    """
    counts = {
        name: max(1, math.ceil(min_seconds / time_once(action)))
        for name, action in actions.items()
    }
    seconds = {name: [] for name in actions}
    names = list(actions)
    for i in range(repeats):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            seconds[name].append(time_once(actions[name], counts[name]))
    return seconds


def time_once(action: Callable[[], object], count: int = 1) -> float:
    """Time an action that is run ``count`` times, in seconds of one."""
    _synchronise()
    begin = time.perf_counter()
    for _ in range(count):
        action()
    _synchronise()
    return (time.perf_counter() - begin) / count


def _synchronise() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Compute the lower quartile, the median and the upper quartile."""
    return tuple(float(q) for q in np.percentile(values, (25, 50, 75)))


def paired_ratio(
    peer: Sequence[float], own: Sequence[float]
) -> tuple[float, float, float]:
    """Compute the quartiles of the speed relative to a peer.

    Args:
        peer (Sequence[float]): Seconds of the peer in each round.
        own (Sequence[float]): Seconds in the same rounds.

    Returns:
        tuple[float, float, float]: Quartiles over the rounds; above 1 is
        faster than the peer.
    """
    return quartiles([p / o for p, o in zip(peer, own)])


def fit_exponent(
    pixels: Sequence[int], seconds: Sequence[float]
) -> float | None:
    """Fit b of ``seconds = a * pixels**b``, by least squares of logarithms.

    Returns:
        float | None: None for fewer than two different sizes.
    """
    if len(set(pixels)) < 2:
        return None
    return float(np.polyfit(np.log(pixels), np.log(seconds), 1)[0])


def make_gemms(
    dtype: torch.dtype, device: str, size: int = GEMM_SIZE
) -> dict[str, Callable[[], object]]:
    """Make the products of square matrices that tell the machine's limit.

    Args:
        dtype (torch.dtype): Of the matrices.
        device (str): Where they are.
        size (int): Rows N of the matrices. Defaults to GEMM_SIZE.

    Returns:
        dict: ``'gemm: mm'`` and, on a CPU, where either may be faster,
        ``'gemm: conv'``, a 1x1 convolution; each of N^3 multiply-adds.
    """
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in 'ab')
    gemms = {'gemm: mm': lambda: torch.mm(a, b)}
    if device == 'cpu':
        x = a.view(1, 1, size, size).permute(0, 3, 1, 2)
        weight = b.view(size, size, 1, 1)
        gemms['gemm: conv'] = lambda: F.conv2d(x, weight)
    return gemms


def count_flops(name: str, mode: str, size: Size, device: str) -> float:
    """Count the FLOPs of a step, a multiply-add once.

    A training step is three forward passes; what recomputation adds and what
    is kept from one image to the next are left out.

    Args:
        name (str): Of the network.
        mode (str): ``'eval'`` or ``'train'``.
        size (Size): Shape of the images.
        device (str): Where whole models run.

    Returns:
        float: FLOPs of a step.
    """
    base, _ = split_name(name)
    return _count_flops(base, mode, size, device)


@functools.cache
def _count_flops(name: str, mode: str, size: Size, device: str) -> float:
    network = build_network(name)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        if is_whole(network):
            step = Step(network.to(device), mode, torch.float32, size)
            step.prepare()
            with FlopCounter() as counter:
                step.forward()
            flops = counter.flops
        else:
            network.to('meta').train(mode == 'train')
            flops = count_backbone_flops(network, size.height, size.width)
            flops = {'one': flops.total() * size.batch}
    return sum(flops.values()) * (3 if mode == 'train' else 1)


def supports(dtype: torch.dtype, device: str) -> bool:
    """Tell whether a device computes in a dtype, not just emulates it."""
    if device == 'cpu' and dtype == torch.float16:
        return torch.ops.mkldnn._is_mkldnn_fp16_supported()
    return True
