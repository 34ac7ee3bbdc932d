"""How sharded training (FSDP) cuts a model into units."""

from __future__ import annotations

from mmengine.registry import FUNCTIONS
from torch import nn

from mmvheat.models import Mlp


@FUNCTIONS.register_module()
def shard_vheat(
    module: nn.Module, recurse: bool, nonwrapped_numel: int
) -> bool:
    """Make each MLP of vHeat a unit; the rest of the model is one more.

    MLPs hold two thirds of the parameters and are only ever called as a
    whole. Smaller units or whole stages would not do: the decay of a block
    and the downsample layer of a stage are computed outside the ``forward``
    of the module that holds them, where their weights are not gathered.

    For ``auto_wrap_policy`` of mmengine's ``MMFullyShardedDataParallel``.

    Args:
        module (nn.Module): The module in question.
        recurse (bool): Whether to look into its children.
        nonwrapped_numel (int): Its parameters that are in no unit yet.

    Returns:
        bool: The answer to ``recurse``, else whether it becomes a unit.
    """
    return True if recurse else isinstance(module, Mlp)
