"""Layers of any network by name, and their maps channels first."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mmvheat.errors import UserError
from mmvheat.models import HeatBlock, vHeat, vHeatIR
from mmvheat.models.layers import ChannelsLastConv2d, LayerNorm
from mmvheat.models.vheat import HeatStage, Stem

if TYPE_CHECKING:
    from .networks import Network

# They and all in them give (B, H, W, C), in timm's vHeat as well.
_CHANNELS_LAST = (ChannelsLastConv2d, HeatBlock, HeatStage, LayerNorm, Stem)
_SPEC = re.compile(r'(.*?)(?:\[(\d+)\])?')


class PictureError(UserError):
    """A fault in what the user wants to see."""


@dataclass(frozen=True)
class Layer:
    """A layer to look at.

    Attributes:
        name (str): As given: the path of a module, and ``[i]`` behind it if
            it returns several maps, such as ``'backbone[3]'``.
        module (nn.Module): The module.
        index (int, optional): Which of its maps.
        channels_last (bool): Whether it gives (B, H, W, C).
    """

    name: str
    module: nn.Module
    index: int | None
    channels_last: bool

    def read(self, output: Any, image: Tensor) -> Tensor:
        """Get the map (B, C, H, W) from what the module returned.

        Args:
            output (Any): What it returned: a map, or a sequence of them, or
                tokens (B, H*W, C).
            image (Tensor): The input of the network, whose sides tell those
                of tokens.

        Raises:
            PictureError: If there is no map in it.
        """
        if isinstance(output, (tuple, list)):
            if self.index is None and len(output) > 1:
                raise PictureError(
                    f'{self.name} returns {len(output)} maps; choose one, '
                    f"from '{self.name}[0]' to '{self.name}[{len(output) - 1}]"
                    "'."
                )
            index = self.index or 0
            if index >= len(output):
                raise PictureError(
                    f'{self.name} does not exist: the layer returns '
                    f'{len(output)} maps, counted from 0.'
                )
            output = output[index]
        if isinstance(output, Tensor) and output.dim() == 4:
            return output.permute(0, 3, 1, 2) if self.channels_last else output
        is_batch = isinstance(output, Tensor) and len(output) == len(image)
        if is_batch and output.dim() == 3:
            maps = _fold_tokens(output, image)
            if maps is not None:
                return maps
        shape = getattr(output, 'shape', None)
        found = type(output).__name__ if shape is None else tuple(shape)
        raise PictureError(
            f'{self.name} gives {found}, which is no map; choose a layer in '
            'front of it.'
        )


def find_layer(model: nn.Module, name: str) -> Layer:
    """Find a layer by its name.

    Args:
        model (nn.Module): Any model.
        name (str): Path of a module, perhaps with ``[i]``, see
            :class:`Layer`.

    Raises:
        PictureError: If there is no such layer; near misses are named.
    """
    path, index = _SPEC.fullmatch(name).groups()
    modules = dict(model.named_modules())
    if not path or path not in modules:
        near = difflib.get_close_matches(path, [*modules][1:], 4, 0.5)
        hint = (
            f'did you mean {", ".join(near)}?'
            if near
            else (
                'it has '
                + ', '.join(n for n, _ in model.named_children())
                + '.'
            )
        )
        raise PictureError(
            f'The {type(model).__name__} has no layer {name!r}; {hint}'
        )
    around = [
        module
        for prefix, module in modules.items()
        if not prefix or path.startswith(f'{prefix}.')
    ]
    owners = (vHeat, vHeatIR, *_CHANNELS_LAST)
    return Layer(
        name,
        modules[path],
        None if index is None else int(index),
        isinstance(modules[path], _CHANNELS_LAST)
        or any(isinstance(module, owners) for module in around),
    )


def list_stages(network: Network) -> dict[str, Layer]:
    """List the maps that the backbone returns: their names and layers.

    The names count the stages from 1, as papers do. Those of a vHeatIR are
    its groups of blocks.
    """
    name = network.backbone_name
    if isinstance(network.backbone, vHeatIR):
        return {
            f'stage {i + 1}': find_layer(network.model, f'{name}.groups.{i}')
            for i in range(len(network.backbone.groups))
        }
    stages = getattr(network.backbone, 'out_indices', None)
    if stages is None:
        with torch.no_grad():
            image = network.normalize(np.zeros((224, 224, 3), np.uint8))
            maps = network.backbone(image.to(network.device))
        stages = range(1 if isinstance(maps, Tensor) else len(maps))
    elif isinstance(stages, int):
        stages = (stages,)
    total = getattr(network.backbone, 'num_stages', 4)
    return {
        f'stage {stage % total + 1}': find_layer(network.model, f'{name}[{i}]')
        for i, stage in enumerate(stages)
    }


@contextmanager
def record(layers: Sequence[Layer]) -> Iterator[dict[str, Any]]:
    """Record what layers return while the block runs, by their names.

    Of a layer that runs several times, the first output is kept.
    """
    outputs: dict[str, Any] = {}

    def keep(layer: Layer) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs.setdefault(layer.name, output)

        return layer.module.register_forward_hook(hook)

    handles = [keep(layer) for layer in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _fold_tokens(tokens: Tensor, image: Tensor) -> Tensor | None:
    """Fold tokens (B, L, C) into maps (B, C, H, W) shaped like the image."""
    height, width = image.shape[-2:]
    for extra in (0, 1):  # perhaps a class token in front
        count = tokens.shape[1] - extra
        rows = round((count * height / width) ** 0.5)
        if rows and count % rows == 0:
            folded = tokens[:, extra:].unflatten(1, (rows, count // rows))
            return folded.permute(0, 3, 1, 2)
    return None
