"""Propagators by the names that configs give them."""

from __future__ import annotations

from mmengine.registry import MODELS

from mmvheat.nn import (
    DampedWavePropagator,
    FractionalHeatPropagator,
    HeatPropagator,
    Propagator,
    TailPropagator,
)

for _law in (
    HeatPropagator,
    FractionalHeatPropagator,
    TailPropagator,
    DampedWavePropagator,
):
    MODELS.register_module(module=_law)


def build_propagator(cfg: dict | None, dims: int) -> Propagator | None:
    """Build the propagator of one block.

    Args:
        cfg (dict, optional): ``type`` is the name of a registered
            :class:`mmvheat.nn.Propagator`, the rest are its arguments.
        dims (int): Channels C of the block.

    Returns:
        Propagator | None: None for None.

    Raises:
        TypeError: ``cfg`` is no config.
    """
    if cfg is None:
        return None
    if not isinstance(cfg, dict):
        raise TypeError(
            "propagator must be a dict such as dict(type='HeatPropagator'), "
            f'but got {cfg!r}'
        )
    return MODELS.build({**cfg, 'dims': dims})
