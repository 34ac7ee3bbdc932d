"""Conversion of vHeat weights: state dict in, state dict out.

The official names, those of mmpretrain's ``ImageClassifier`` and those of a
backbone in a detector or segmentor differ only in prefix and head:

=====================  ============================
official classifier    ``ImageClassifier``
=====================  ============================
``patch_embed.*`` ...  ``backbone.patch_embed.*`` ...
``classifier.0.*``     ``backbone.outnorm3.*``
``classifier.3.*``     ``head.fc.*``
=====================  ============================
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmvheat.ops import resize_freq_embed

from .arch import is_backbone_key
from .layout import Checkpoint
from .reader import CheckpointError

StateDict = dict[str, Tensor]

HEAD_NAMES = {
    'classifier.0.weight': 'backbone.outnorm3.weight',
    'classifier.0.bias': 'backbone.outnorm3.bias',
    'classifier.3.weight': 'head.fc.weight',
    'classifier.3.bias': 'head.fc.bias',
}
OFFICIAL_HEAD_NAMES = {new: old for old, new in HEAD_NAMES.items()}


def convert_checkpoint(
    checkpoint: Checkpoint,
    img_size: tuple[int, int],
    method: str = 'pad',
    task: str = 'det',
) -> StateDict:
    """Convert a checkpoint of any layout for another task and image size.

    Args:
        checkpoint (Checkpoint): The source.
        img_size (tuple[int, int]): Image size (H, W) of the new FVE grid.
        method (str): ``'pad'`` or ``'bicubic'``. Defaults to 'pad'.
        task (str): ``'det'`` or ``'seg'`` for a backbone alone, ``'cls'`` to
            keep the head under mmpretrain's names. Defaults to 'det'.

    Returns:
        dict[str, Tensor]: The converted weights.

    Raises:
        CheckpointError: If a key is unknown, or ``task`` is ``'cls'`` and
            the checkpoint has no whole classifier.
    """
    weights = checkpoint.state_dict
    if task != 'cls':
        if checkpoint.prefix:
            weights = checkpoint.backbone_state()
        return convert_to_downstream(weights, img_size, method)
    if checkpoint.task != 'cls':
        raise CheckpointError(
            f'{checkpoint.source} has no classifier to keep (it is a '
            f"{checkpoint.task} checkpoint): convert it for 'det' or 'seg'"
        )
    if checkpoint.prefix:
        weights = to_official(weights)
    missing = [key for key in HEAD_NAMES if key not in weights]
    if missing:
        raise CheckpointError(
            f'{checkpoint.source} has an incomplete classifier: '
            f'{", ".join(missing)} missing'
        )
    weights = to_mmpretrain(weights)
    return change_img_size(weights, img_size, method, 'backbone.')


def get_grid(img_size: tuple[int, int], stage: int) -> tuple[int, int]:
    """Get the FVE grid (H, W) of a stage for an image size (H, W).

    Example:
        >>> get_grid((800, 1344), 0), get_grid((800, 1344), 3)
        ((200, 336), (25, 42))
    """
    height, width = img_size
    return height // 4 // 2**stage, width // 4 // 2**stage


def change_img_size(
    state_dict: Mapping[str, Tensor],
    img_size: tuple[int, int],
    method: str = 'pad',
    prefix: str = '',
) -> StateDict:
    """Give the FVEs the grids of another image size.

    Args:
        state_dict (Mapping[str, Tensor]): Weights.
        img_size (tuple[int, int]): The new image size (H, W), at least 32.
        method (str): ``'pad'`` or ``'bicubic'``, see
            :func:`mmvheat.ops.resize_freq_embed`. Defaults to 'pad'.
        prefix (str): Prefix of the backbone's keys. Defaults to ''.

    Returns:
        dict[str, Tensor]: The weights with the new FVEs; where the grid is
        right already, and for all other keys, the same tensors.

    Raises:
        CheckpointError: If an image size is below 32, which leaves the last
            stage no grid.
    """
    if min(img_size) < 32:
        raise CheckpointError(
            f'an image size of at least 32 is expected, but got '
            f'{img_size[0]}x{img_size[1]}'
        )
    start = f'{prefix}freq_embed.'
    converted = dict(state_dict)
    for key, value in state_dict.items():
        if key.startswith(start):
            grid = get_grid(img_size, int(key[len(start) :]))
            if tuple(value.shape[:2]) != grid:
                converted[key] = resize_freq_embed(value, grid, method)
    return converted


def convert_to_downstream(
    state_dict: Mapping[str, Tensor],
    img_size: tuple[int, int],
    method: str = 'pad',
) -> StateDict:
    """Turn an official classifier into a detector's or segmentor's backbone.

    Args:
        state_dict (Mapping[str, Tensor]): Weights under official names.
        img_size (tuple[int, int]): Image size (H, W) of the new FVE grid.
        method (str): ``'pad'`` or ``'bicubic'``. Defaults to 'pad'.

    Returns:
        dict[str, Tensor]: The backbone's weights; the classifier is dropped.

    Raises:
        CheckpointError: If a key is not vHeat's.

    Example:
        >>> import torch
        >>> weights = {
        ...     'freq_embed.0': torch.ones(56, 56, 96),
        ...     'classifier.3.bias': torch.zeros(1000),
        ... }
        >>> converted = convert_to_downstream(weights, (512, 512))
        >>> {name: tuple(value.shape) for name, value in converted.items()}
        {'freq_embed.0': (128, 128, 96)}
    """
    kept = {}
    for key, value in state_dict.items():
        if is_backbone_key(key):
            kept[key] = value
        elif key not in HEAD_NAMES:
            raise CheckpointError(f'unknown key {key} in a vHeat classifier')
    return change_img_size(kept, img_size, method)


def to_mmpretrain(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Rename an official classifier for mmpretrain's ``ImageClassifier``.

    Args:
        state_dict (Mapping[str, Tensor]): Weights under official names.

    Returns:
        dict[str, Tensor]: The same tensors under mmpretrain's names.

    Raises:
        CheckpointError: If a key is not vHeat's.
    """
    renamed = {}
    for key, value in state_dict.items():
        if is_backbone_key(key):
            renamed[f'backbone.{key}'] = value
        elif key in HEAD_NAMES:
            renamed[HEAD_NAMES[key]] = value
        else:
            raise CheckpointError(f'unknown key {key} in a vHeat classifier')
    return renamed


def to_official(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Rename an ``ImageClassifier`` back, see :func:`to_mmpretrain`.

    Args:
        state_dict (Mapping[str, Tensor]): Weights under mmpretrain's names.

    Returns:
        dict[str, Tensor]: The same tensors under official names.

    Raises:
        CheckpointError: If a key is not that of a vHeat classifier.
    """
    renamed = {}
    for key, value in state_dict.items():
        if key in OFFICIAL_HEAD_NAMES:
            renamed[OFFICIAL_HEAD_NAMES[key]] = value
        elif is_backbone_key(key, 'backbone.'):
            renamed[key[len('backbone.') :]] = value
        else:
            raise CheckpointError(f'unknown key {key} in a vHeat classifier')
    return renamed
