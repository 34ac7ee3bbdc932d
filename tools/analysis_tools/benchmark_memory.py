"""Peak memory of a step and memory that stays, for ``benchmark.py``."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch
from benchmark_models import (
    DTYPES,
    Size,
    Step,
    build_network,
    place,
    split_name,
)
from torch import nn

WARM_UP = 64  # side in pixels
# From <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LIBRARIES = ('mmvheat', 'mmdet.models', 'mmpretrain.models', 'mmseg.models')


def run_in_child(function: Callable, *args: object) -> object:
    """Call a function in a fresh process with as many threads.

    Raises:
        MemoryError: The process was killed.
    """
    # Each is forked from a server that has no more than imported libraries.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(
        [name for name in _LIBRARIES if name.partition('.')[0] in sys.modules]
    )
    initial = torch.get_num_threads(), sys.path
    with ProcessPoolExecutor(1, context, _start_child, initial) as pool:
        try:
            return pool.submit(function, *args).result()
        except BrokenProcessPool:
            raise MemoryError('the process was killed') from None


def _start_child(threads: int, path: list[str]) -> None:
    sys.path[:] = path
    torch.set_num_threads(threads)


def measure_memory(
    name: str,
    mode: str,
    dtype: str,
    size: Size,
    device: str = 'cpu',
    channels_last: bool = False,
) -> int:
    """Measure the peak memory of a step above that of the network.

    On a CPU this must run in a process of its own: resident memory is that
    of everything in it.

    Args:
        name (str): Of the network.
        mode (str): ``'eval'`` or ``'train'``.
        dtype (str): A key of DTYPES.
        size (Size): Shape of the images.
        device (str): ``'cpu'`` or ``'cuda'``. Defaults to 'cpu'.
        channels_last (bool): Memory format of weights and images.
            Defaults to False.

    Returns:
        int: Bytes, those of gradients included.
    """
    network = place(build_network(name), device, channels_last)
    small, step = (
        Step(network, mode, DTYPES[dtype], s, channels_last)
        for s in (Size(size.batch, WARM_UP, WARM_UP), size)
    )
    # What a first run loads is the libraries'; a compiler's memory too.
    _, options = split_name(name)
    step.prepare()
    (step if 'compile' in options else small)()
    forget(network)
    step.prepare()
    if device == 'cuda':
        return _peak_allocated(step)
    return _peak_resident(step)


def forget(network: nn.Module) -> None:
    """Let a network drop what it keeps between images."""
    network.train()
    network.eval()


def _peak_allocated(step: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _peak_resident(step: Callable[[], object]) -> int:
    """Run a step; the peak of the resident memory above that before it."""
    gc.collect()
    # Has glibc's allocator give memory back at once: what it holds for later
    # may be as much as the step needs, and differs from run to run.
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**20)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**20)
        libc.malloc_trim(0)
    before = _read_status('VmRSS')
    try:
        with open('/proc/self/clear_refs', 'w') as file:
            file.write('5')  # resets the peak
    except OSError:
        step()
        # The peak since the start: right where the step needed more.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    else:
        step()
        peak = _read_status('VmHWM')
    return max(0, peak - before)


def _read_status(key: str) -> int:
    with open('/proc/self/status') as file:
        for line in file:
            if line.startswith(f'{key}:'):
                return int(line.split()[1]) * 1024
    raise KeyError(key)


def count_held_bytes() -> int:
    """Sum up the memory of all tensors alive in this process, in bytes."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        # Not isinstance, which wakes lazy objects. Other kinds of tensors
        # stand for data of programs being compiled.
        if type(thing) in (torch.Tensor, nn.Parameter) and not thing.is_meta:
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
