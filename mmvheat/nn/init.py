"""Initial weights, as in the paper's code."""

from __future__ import annotations

from torch import nn

from .propagator import Propagator


def init_linear_layers(module: nn.Module) -> None:
    """Initialise the linear layers of a module as vHeat does.

    Those of a law of propagation are left as the law has set them.

    Args:
        module (nn.Module): Any module.
    """
    laws = (m for m in module.modules() if isinstance(m, Propagator))
    own = {id(layer) for law in laws for layer in law.modules()}
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and id(layer) not in own:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
