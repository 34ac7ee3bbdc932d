"""The seam between the plain forwards and their faster versions."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import os
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from mmvheat.ops import heat_response, propagate
from mmvheat.ops.versions import is_compiling

_SWITCH = os.environ.get('MMVHEAT_FAST', '1')
if _SWITCH not in ('0', '1', 'all'):
    raise ValueError(f'MMVHEAT_FAST must be 0, 1 or all, not {_SWITCH!r}')
# Layers whose parameters say what they do, and the modules made of them.
_PLAIN = (nn.Conv2d, nn.Linear, nn.ReLU, nn.Sequential)
_OWN = 'mmvheat.models.heat_block', 'mmvheat.nn.propagator'
_OWN += ('mmvheat.models.layers',)
_RESTATED = 'forward', 'get_k', 'respond', 'response'
_GLOBAL_HOOKS = [
    getattr(nn.modules.module, f'_global_{when}_hooks')
    for when in ('forward_pre', 'forward', 'backward_pre', 'backward')
]
# torch 2.6 cannot tell; up to 2.11 it takes what is compiled for exported.
_is_exporting = getattr(torch.compiler, 'is_exporting', lambda: True)
_enabled = _SWITCH != '0'
_trial = _SWITCH == 'all'


@contextmanager
def disabled() -> Iterator[None]:
    """Run the plain forwards inside, in all threads of the process.

    What is recomputed in the backward pass (``with_cp``) must find what the
    forward pass found: take both inside, or both outside.
    """
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


@contextmanager
def on_trial() -> Iterator[None]:
    """Let kernels run on any device inside, as ``MMVHEAT_FAST=all`` does."""
    global _enabled, _trial
    before = _enabled, _trial
    _enabled = _trial = True
    try:
        yield
    finally:
        _enabled, _trial = before


def is_on_trial() -> bool:
    """Tell whether kernels may run on devices not measured with them."""
    return _enabled and _trial


def is_enabled() -> bool:
    """Tell whether faster versions may run."""
    return _enabled


def accelerated(method: Callable) -> Callable:
    """Let a faster version stand in for a method of a module, where it can.

    The method takes the module, tensors and other modules.
    """
    name = method.__qualname__

    @functools.wraps(method)
    def run(self: nn.Module, *args: Tensor | nn.Module, **kwargs) -> Tensor:
        from .forwards import BY_KERNELS, FASTER

        if kwargs:
            return method(self, *args, **kwargs)
        if is_compiling():
            ready = name == 'HeatBlock.forward' and is_on_trial()
            ready = ready and not _is_exporting()
            ready = ready and torch.autograd.forward_ad._current_level < 0
        else:
            # A CPU need not be asked for kernels.
            ready = name not in BY_KERNELS or is_on_trial()
            ready = ready or getattr(args[0], 'is_cpu', True) is False
            ready = ready and _is_eager(args)
        if not ready:
            return method(self, *args)
        faster, used, code = FASTER.get(name, (None, '', ''))
        plain = list_plain(*(getattr(self, name) for name in used.split()))
        if not faster or plain is None:
            return method(self, *args)
        own = [cls for cls in plain if cls.__module__ in _OWN]
        own = [type(self), *own] if used else []
        stated = [getattr(cls, key, None) for cls in own for key in _RESTATED]
        if not _is_as_stated(code, method, *stated):
            return method(self, *args)
        out = faster(self, *args)
        return method(self, *args) if out is None else out

    run._plain = method
    return run


def list_plain(*layers: nn.Module) -> dict[type, None] | None:
    """List the types of layers, if all are what their parameters say.

    Only then may a function take the parameters and do what the layers would.
    Replaced layers (LoRA, quantisation) and those with hooks (pruning,
    spectral norm, FSDP, feature extraction) must be called. On a GPU the
    device waits as long as this takes.
    """
    types, rest = {}, list(reversed(layers))
    while rest:
        layer = rest.pop()
        kind, own = type(layer), vars(layer)
        if (
            (kind not in _PLAIN and kind.__module__ not in _OWN)
            or own['_forward_pre_hooks']
            or own['_forward_hooks']
            or own['_backward_pre_hooks']
            or own['_backward_hooks']
            or any(name in own for name in _RESTATED)
        ):
            return None
        for parameter in own['_parameters'].values():
            if not _is_plain_tensor(parameter):
                return None
        types[kind] = None
        rest.extend(reversed(own['_modules'].values()))
    return types


def _is_as_stated(code: str, *methods: Callable | None) -> bool:
    return _is_restated(code, *methods)


_is_as_stated._dynamo_marked_constant = True  # torch.compile is to ask it


@functools.cache
def _is_restated(code: str, *methods: Callable | None) -> bool:
    """Tell whether what a faster version restates is as it was."""
    text = ''
    for function in filter(None, (*methods, propagate, heat_response)):
        try:
            code_object = getattr(function, '_plain', function).__code__
            source = textwrap.dedent(inspect.getsource(code_object))
            node = ast.parse(source).body[0]
            documented = ast.get_docstring(node) is not None
            tree = ast.dump(ast.Module(node.body[documented:], []))
            # What is empty stands in the trees of some versions of Python.
            text += re.sub(r'\w+=(\[\]|None|Load\(\))|, ', '', tree)
        except OSError:
            return True  # No source was installed, so none was changed.
        except (SyntaxError, AttributeError, TypeError):
            text += repr(function)  # A lambda, or a mock, is none of ours.
    found = hashlib.sha256(text.encode()).hexdigest()[:8]
    if found != code:
        warnings.warn(
            f'{methods[0].__qualname__} or what it calls was changed, so that '
            'mmvheat.fast stands aside. To have it back, make the same change '
            f'in mmvheat/fast/forwards.py and write {found!r} there.',
            stacklevel=2,
        )
    return found == code


def _is_eager(args: tuple[Tensor | nn.Module, ...]) -> bool:
    """Tell whether tensors are computed now, by torch's own operators."""
    return (
        is_enabled()
        and all(isinstance(a, nn.Module) or _is_plain_tensor(a) for a in args)
        and not torch.jit.is_tracing()
        # A mode that counts kernels sees what runs, others what was written.
        and all(
            getattr(mode, 'counts_kernels', False)
            for mode in _get_current_dispatch_mode_stack()
        )
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch.autograd.forward_ad._current_level < 0
        and not any(_GLOBAL_HOOKS)
    )


def _is_plain_tensor(x: Tensor | None) -> bool:
    return x is None or type(x) in (Tensor, nn.Parameter)
