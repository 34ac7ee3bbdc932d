"""Training that keeps the inputs of elementwise functions alone.

``layer(function(*inputs))`` normally keeps what ``function`` computes on its
way, and its result for the gradient of the layer's weight. Recomputed by
:func:`torch.utils.checkpoint.checkpoint` it keeps the inputs. Recomputation
stops at the last tensor that the backward pass asks for, and a product hands
over its factors before it multiplies them: so the function, which is
elementwise or a norm, runs once more, and no matrix product ever does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Below, recomputation costs more time than the memory is worth: up to a fifth
# of a training step of narrow networks on small images.
_MIN_BYTES = 3 * 2**20


def is_lean(x: Tensor, everywhere: bool = False) -> bool:
    """Tell whether memory counts for features of this size.

    On a GPU the bookkeeping of one recomputation takes longer than most
    kernels: with several a block a step of vHeat-T on an H200 took 1.3 to 2.1
    times as long. Blocks have kernels there that keep as little.

    Args:
        x (Tensor): The features.
        everywhere (bool): On a GPU as well. Defaults to False.
    """
    return (
        torch.is_grad_enabled()
        and (everywhere or x.device.type == 'cpu')
        and x.nbytes >= _MIN_BYTES
    )


def run_lean(
    function: Callable[..., Tensor],
    *inputs: Tensor,
    layer: nn.Module | None = None,
    everywhere: bool = False,
) -> Tensor:
    """Compute ``layer(function(*inputs))`` and keep the inputs alone.

    Args:
        function (Callable): Cheap, without random numbers or products.
        inputs (Tensor): What it takes.
        layer (nn.Module, optional): What comes behind. Defaults to None.
        everywhere (bool): As of :func:`is_lean`. Defaults to False.

    Returns:
        Tensor: The result.
    """

    def run(*args: Tensor) -> Tensor:
        x = function(*args)
        return x if layer is None else layer(x)

    if not is_lean(inputs[0], everywhere):
        return run(*inputs)
    return checkpoint(
        run,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,
        determinism_check='none',
    )
