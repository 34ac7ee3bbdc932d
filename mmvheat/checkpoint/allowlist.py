"""What a checkpoint may hold besides tensors and plain Python values.

``torch.load(weights_only=True)`` refuses every class and function that is not
on a list. The additions here are inert: config nodes become dictionaries,
NumPy values stay numeric, and mmengine's log buffers get their numbers back
without the functions that were pickled with them.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from pickle import UnpicklingError
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer

# torch's restricted unpickler fills only dict, OrderedDict and Counter, and
# writes an object's state into an OrderedDict without calling anything.
CONFIG_CLASSES = (
    'yacs.config.CfgNode',
    'fvcore.common.config.CfgNode',
    'mmengine.config.config.ConfigDict',
    'addict.addict.Dict',
    'argparse.Namespace',
)
NUMERIC_KINDS = '?bhilqBHILQefdgFDGSU'


@functools.lru_cache(maxsize=1)
def get_allow_list() -> list[tuple[Any, str]]:
    """Get the substitutes for :func:`.unpickler.load_weights`.

    Returns:
        list[tuple]: Pairs of a substitute and the name in the file that it
        stands for.
    """
    allowed = [(OrderedDict, name) for name in CONFIG_CLASSES]
    allowed += [
        (
            _StoredHistoryBuffer,
            'mmengine.logging.history_buffer.HistoryBuffer',
        ),
        (_skip_statistic, 'builtins.getattr'),
        (_StoredArray, 'numpy.ndarray'),
        (_numeric_dtype, 'numpy.dtype'),
    ]
    scalar_function = np.float64(0).__reduce__()[0]
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed.append((_start_array, f'{module}._reconstruct'))
        allowed.append((scalar_function, f'{module}.scalar'))
    for kind in NUMERIC_KINDS:
        dtype_class = type(np.dtype(kind))
        allowed.append((dtype_class, f'numpy.dtypes.{dtype_class.__name__}'))
    return allowed


class _StoredHistoryBuffer(HistoryBuffer):
    """Restore a log buffer from its numbers alone."""

    def __setstate__(self, state: dict) -> None:
        HistoryBuffer.__init__(
            self,
            _check_numbers(state['_log_history']),
            _check_numbers(state['_count_history']),
            int(state.get('max_length', 1000000)),
        )
        # Saving it again must name mmengine's class, not this one.
        self.__class__ = HistoryBuffer


class _StoredArray(np.ndarray):
    """Restore an array whose dtype cannot be changed afterwards.

    A file can give a dtype another state at any time, and an array of it
    would reach beyond its memory.
    """

    def __new__(cls, *_: Any) -> _StoredArray:
        raise UnpicklingError('GLOBAL numpy.ndarray was not allowed')

    def __setstate__(self, state: tuple) -> None:
        version, shape, dtype, *rest = state
        if not isinstance(dtype, np.dtype):
            raise UnpicklingError('GLOBAL numpy.dtype was not allowed')
        super().__setstate__((version, shape, np.dtype(dtype.str), *rest))


def _start_array(*_: Any) -> _StoredArray:
    return np.empty(0).view(_StoredArray)


def _skip_statistic(owner: type, name: str) -> None:
    # A pickled HistoryBuffer names its own statistics by getattr. They are
    # class attributes that exist anyway, so none needs to be looked up.
    if owner is not _StoredHistoryBuffer:
        raise UnpicklingError('GLOBAL builtins.getattr was not allowed')


def _check_numbers(values: Any) -> np.ndarray:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in 'biuf':
        raise UnpicklingError('a log buffer holds something else than numbers')
    return np.array(values)


def _numeric_dtype(name: str, *flags: Any) -> np.dtype:
    dtype = np.dtype(name) if isinstance(name, str) else None
    if dtype is None or dtype.kind not in 'biufcSU':
        raise UnpicklingError('GLOBAL numpy.dtype was not allowed')
    return np.dtype(dtype, copy=True)
