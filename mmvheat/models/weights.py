"""Adapting weights to the shapes of a backbone."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from mmvheat.ops import resize_freq_embed

STEM = 'patch_embed.conv1.weight'


def adapt_state_dict(
    state_dict: MutableMapping[str, Tensor],
    target_shapes: Mapping[str, Sequence[int]],
    *,
    prefix: str = '',
    mode: str = 'pad',
    logger: Any = 'current',
) -> list[str]:
    """Adapt weights to a backbone of another grid or image channels, in place.

    - FVEs of another grid are resized.
    - ``patch_embed.conv1.weight`` for RGB is summed over the channels for
      one image channel; for n channels it is repeated, RGBRGB..., and scaled
      by 3 / n.
    - Keys of a whole model lose ``'backbone.'`` if the target is a bare
      backbone.

    Tensors are replaced, never written to; all else is left to the loader.

    Args:
        state_dict (MutableMapping[str, Tensor]): Weights, changed in place.
        target_shapes (Mapping[str, Sequence[int]]): Shapes of the backbone's
            parameters, without prefix.
        prefix (str): Prefix of the backbone's keys in ``state_dict``, such
            as ``'backbone.'``. Defaults to ''.
        mode (str): ``'pad'`` or ``'bicubic'``. Defaults to 'pad'.
        logger (Any): Where one line says what was changed; None for
            nowhere. Defaults to 'current'.

    Returns:
        list[str]: What was changed, in words.
    """
    notes = []
    inner = f'backbone.{STEM}'
    if not prefix and STEM not in state_dict and inner in state_dict:
        for key in [k for k in state_dict if k.startswith('backbone.')]:
            state_dict[key[len('backbone.') :]] = state_dict.pop(key)
    for name, shape in target_shapes.items():
        value = state_dict.get(prefix + name)
        if value is None or tuple(value.shape) == tuple(shape):
            continue
        if re.fullmatch(r'freq_embed\.\d', name) and _differs_in_grid(
            value, shape
        ):
            state_dict[prefix + name] = resize_freq_embed(
                value, (shape[0], shape[1]), mode
            )
            source, target = (
                'x'.join(map(str, s)) for s in (value.shape[:2], shape[:2])
            )
            notes.append(f'{name} {source} to {target} by {mode}')
        elif name == STEM and value.shape[:2] == (shape[0], 3):
            state_dict[prefix + name] = _adapt_channels(value, shape[1])
            notes.append(f'{name} from 3 to {shape[1]} channels')
    if notes and logger is not None:
        print_log(f'adapted {", ".join(notes)}', logger=logger)
    return notes


def _differs_in_grid(value: Tensor, shape: Sequence[int]) -> bool:
    return value.dim() == len(shape) == 3 and value.shape[2] == shape[2]


def _adapt_channels(weight: Tensor, channels: int) -> Tensor:
    if channels == 1:
        return weight.sum(1, keepdim=True)
    index = [i % 3 for i in range(channels)]
    return weight[:, index] * (3 / channels)
