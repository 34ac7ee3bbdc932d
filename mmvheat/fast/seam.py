"""The seam between the plain forwards and their faster versions."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_CHOICES = ('0', '1', 'all')
_SWITCH = os.environ.get('MMVHEAT_FAST', '1')
if _SWITCH not in _CHOICES:
    raise ValueError(
        f'MMVHEAT_FAST must be one of {", ".join(_CHOICES)}, but is '
        f'{_SWITCH!r}'
    )
# Layers whose parameters say what they do, and the modules made of them.
_PLAIN = (nn.Conv2d, nn.Linear, nn.ReLU, nn.Sequential)
_OWN = ('mmvheat.models.heat_block', 'mmvheat.models.layers')
_enabled = _SWITCH != '0'


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


def is_enabled() -> bool:
    """Tell whether faster versions may run."""
    return _enabled


def accelerated(method: Callable) -> Callable:
    """Let a faster version stand in for a method of a module, where it can.

    Args:
        method (Callable): Takes the module and tensors.

    Returns:
        Callable: The method; each call asks once whether there is a faster
        version for this module and these tensors.
    """

    @functools.wraps(method)
    def run(self: nn.Module, *args: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or not _is_eager(args):
            return method(self, *args)
        from .forwards import FASTER

        faster, used = FASTER[method.__qualname__]
        if not is_plain(*(getattr(self, name) for name in used)):
            return method(self, *args)
        return faster(self, *args)

    return run


def is_plain(*layers: nn.Module) -> bool:
    """Tell whether layers, and those inside, are all their parameters say.

    Only then may a function take the parameters and do what the layers would.
    Replaced layers (LoRA, quantisation) and those with hooks (pruning,
    spectral norm, FSDP, feature extraction) must be called.
    """
    return all(
        (type(layer) in _PLAIN or type(layer).__module__ in _OWN)
        and not (
            layer._forward_pre_hooks
            or layer._forward_hooks
            or layer._backward_pre_hooks
            or layer._backward_hooks
            or 'forward' in vars(layer)
        )
        and all(map(_is_plain_tensor, layer._parameters.values()))
        and is_plain(*layer._modules.values())
        for layer in layers
    )


def _is_eager(args: tuple[Tensor, ...]) -> bool:
    """Tell whether tensors are computed now, by torch's own operators."""
    return (
        is_enabled()
        and all(map(_is_plain_tensor, args))
        and not torch.jit.is_tracing()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch.autograd.forward_ad._current_level < 0
        and not torch.nn.modules.module._has_any_global_hook()
    )


def _is_plain_tensor(x: Tensor | None) -> bool:
    return x is None or type(x) in (Tensor, nn.Parameter)
