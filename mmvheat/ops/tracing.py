"""Telling recorded programs from eager ones."""

import torch
from torch import Tensor, nn


def is_traced(x: Tensor) -> bool:
    """Tell whether ``x`` stands for the data of a program being recorded.

    Caches stay out of such programs (``torch.compile``, ``torch.export``,
    ``torch.jit.trace``, fake tensors): sizes may be symbols in them, and
    results must depend on the weights.

    Args:
        x (Tensor): Any tensor.

    Returns:
        bool: False in eager execution on plain tensors.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    return type(x) not in (Tensor, nn.Parameter)


def has_symbolic_size(x: Tensor) -> bool:
    """Tell whether a program being compiled takes ``x`` of several sizes.

    Args:
        x (Tensor): Any tensor.

    Returns:
        bool: Whether some size is a symbol; False in eager execution.
    """
    if not torch.compiler.is_compiling():
        return False
    from torch.fx.experimental.symbolic_shapes import has_static_value

    return not all(has_static_value(size) for size in x.shape)
