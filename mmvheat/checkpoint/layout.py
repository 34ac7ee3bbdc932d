"""What a vHeat checkpoint holds, whatever its layout."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from mmvheat.models.weights import STEM

from .arch import BackboneInfo, describe_backbone, is_backbone_key
from .reader import CheckpointError, read_file

WEIGHTS = ('model', 'state_dict')
AVERAGED_WEIGHTS = ('model_ema', 'ema_state_dict', 'state_dict_ema')

# What the official classifier calls parameters of timm's.
TIMM_HEAD_NAMES = {
    'norm.weight': 'classifier.0.weight',
    'norm.bias': 'classifier.0.bias',
    'head.fc.weight': 'classifier.3.weight',
    'head.fc.bias': 'classifier.3.bias',
}


@dataclass
class Checkpoint:
    """A vHeat checkpoint.

    Attributes:
        source (str): The file.
        layout (str): Key the weights were under, or 'bare'.
        prefix (str): Prefix of the backbone's keys, '' or 'backbone.'.
        state_dict (dict[str, Tensor]): Tensors; keys have no 'module.'.
        backbone (BackboneInfo): The arch.
        task (str): 'cls', 'det', 'seg' or 'backbone'.
        num_classes (int, optional): Classes of the head.
        post_norm (bool, optional): As the config in the file says; names
            and shapes do not tell.
        has_ema (bool): Whether the file holds averaged weights.
        epoch (int, optional): As the file says.
        accuracy (float, optional): As the file says, in percent.
        meta (dict): All else that is not tensors, as plain values.
    """

    source: str
    layout: str
    prefix: str
    state_dict: dict[str, Tensor]
    backbone: BackboneInfo
    task: str
    num_classes: int | None = None
    post_norm: bool | None = None
    has_ema: bool = False
    epoch: int | None = None
    accuracy: float | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def backbone_state(self) -> dict[str, Tensor]:
        """Get the backbone's tensors under their official names.

        The output norm of a classifier belongs to its head, under
        mmpretrain's names too.
        """
        return {
            key[len(self.prefix) :]: value
            for key, value in self.state_dict.items()
            if is_backbone_key(key, self.prefix)
            and not (self.task == 'cls' and '.outnorm' in f'.{key}')
        }


def read_checkpoint(
    path: str | os.PathLike, *, ema: bool = False
) -> Checkpoint:
    """Read a vHeat checkpoint of any layout.

    Args:
        path (str | os.PathLike): A file of ``torch.save`` or safetensors.
        ema (bool): Take the averaged weights. Defaults to False.

    Returns:
        Checkpoint: Weights and what the file says of itself.

    Raises:
        CheckpointError: If it cannot be read or is not vHeat.
    """
    return parse_checkpoint(read_file(path), os.fspath(path), ema=ema)


def parse_checkpoint(
    content: Any, source: str, *, ema: bool = False, prefix: str | None = None
) -> Checkpoint:
    """Find the weights in the content of a file, see `read_checkpoint`.

    With a prefix, only what has it in the file is read, without it.
    """
    layout, weights, has_ema = _find_weights(content, source, ema)
    # That of the backbone is found by itself, or is not needed.
    if prefix and prefix.rstrip('.') != 'backbone':
        weights = _select(weights, prefix, source)
    state_dict = strip_wrappers(weights)
    prefix = find_prefix(state_dict)
    if prefix is None:
        others = _find_other_prefixes(state_dict)
        if others:
            raise CheckpointError(
                f'{source} has no vHeat of its own, but under '
                f'{" and ".join(others)}: say which by '
                f"init_cfg=dict(type='Pretrained', checkpoint='{source}', "
                f'prefix={others[0]!r}) of the backbone'
            )
        raise CheckpointError(
            f'{source} is not a vHeat checkpoint: it has no '
            f'patch_embed.conv1.weight and freq_embed.0, but keys such as '
            f'{", ".join(list(state_dict)[:3])}'
        )
    if not prefix:
        state_dict = rename_timm_head(state_dict)
    shapes = {
        key[len(prefix) :]: tuple(value.shape)
        for key, value in state_dict.items()
        if is_backbone_key(key, prefix)
    }
    backbone = describe_backbone(shapes, source)
    left_out = (*WEIGHTS, *AVERAGED_WEIGHTS, 'optimizer')
    said = {
        key: _to_plain(value)
        for key, value in content.items()
        if layout != 'bare' and key not in left_out
    }
    meta = said.get('meta') if isinstance(said.get('meta'), dict) else {}
    task, num_classes = _find_task(state_dict)
    accuracy = said.get('max_accuracy_ema' if ema else 'max_accuracy')
    return Checkpoint(
        source=source,
        layout=layout,
        prefix=prefix,
        state_dict=state_dict,
        backbone=backbone,
        task=task,
        num_classes=num_classes,
        post_norm=_find_post_norm(said),
        has_ema=has_ema,
        epoch=said.get('epoch', meta.get('epoch')),
        accuracy=accuracy if isinstance(accuracy, Real) else None,
        meta=said,
    )


def strip_wrappers(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Keep the tensors, without prefixes of torch.compile, DDP and EMA."""
    tensors = {
        key.replace('_orig_mod.', ''): value
        for key, value in weights.items()
        if isinstance(key, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
    }
    while any(key.startswith('module.') for key in tensors):
        # An averaged model counts its updates beside the wrapped module.
        tensors = {
            key[len('module.') :]: value
            for key, value in tensors.items()
            if key.startswith('module.')
        }
    return {
        key: value.data if isinstance(value, torch.nn.Parameter) else value
        for key, value in tensors.items()
    }


def find_prefix(state_dict: Mapping[str, Any]) -> str | None:
    """Find the prefix of the backbone's keys; None if it is not vHeat."""
    for prefix in ('', 'backbone.'):
        if _is_prefix(prefix, state_dict):
            return prefix
    return None


def _is_prefix(prefix: str, state_dict: Mapping[str, Any]) -> bool:
    return (
        prefix + STEM in state_dict and f'{prefix}freq_embed.0' in state_dict
    )


def _find_other_prefixes(state_dict: Mapping[str, Any]) -> list[str]:
    """Find where a model of many networks (a teacher, a student) has one."""
    stems = (key for key in state_dict if key.endswith(f'.{STEM}'))
    prefixes = (key[: -len(STEM)] for key in stems)
    return [prefix for prefix in prefixes if _is_prefix(prefix, state_dict)]


def _select(
    weights: Mapping[str, Any], prefix: str, source: str
) -> dict[str, Any]:
    prefix = f'{prefix.rstrip(".")}.'
    for names in (weights, strip_wrappers(weights)):
        found = {
            key[len(prefix) :]: value
            for key, value in names.items()
            if key.startswith(prefix)
        }
        if found:
            return found
    raise CheckpointError(
        f'{source} has no keys under {prefix}, but such as '
        f'{", ".join(list(weights)[:3])}'
    )


def rename_timm_head(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a bare backbone's head of timm's its official names."""
    return {TIMM_HEAD_NAMES.get(k, k): v for k, v in state_dict.items()}


def find_nonfinite(state_dict: Mapping[str, Tensor]) -> list[str]:
    """List the tensors that hold NaN or infinity."""
    found = []
    for key, value in state_dict.items():
        if value.is_floating_point():
            # Numbers of 8 bits cannot be asked.
            value = value.float() if value.element_size() == 1 else value
            if not value.isfinite().all():
                found.append(key)
    return found


def _find_weights(
    content: Any, source: str, ema: bool
) -> tuple[str, Mapping[str, Any], bool]:
    if not isinstance(content, dict) or not content:
        raise CheckpointError(
            f'{source} holds {_name_type(content)}, but a dict of weights is '
            'expected'
        )
    here = [k for k in WEIGHTS if _is_state_dict(content.get(k))]
    averaged = [k for k in AVERAGED_WEIGHTS if _is_state_dict(content.get(k))]
    # mmengine's EMA hook stores the averaged weights as ``state_dict`` and
    # those of the optimizer as ``ema_state_dict``.
    if 'ema_state_dict' in averaged and 'state_dict' in here:
        return 'state_dict', content['state_dict'], True
    if ema and not averaged:
        raise CheckpointError(
            f'{source} has no averaged (EMA) weights: its keys are '
            f'{", ".join(map(str, list(content)[:8]))}'
        )
    choices = averaged + here if ema else here + averaged
    if choices:
        return choices[0], content[choices[0]], bool(averaged)
    if _is_state_dict(content):
        return 'bare', content, False
    raise CheckpointError(
        f'{source} has no weights: its keys are '
        f'{", ".join(map(str, list(content)[:8]))}, but one of '
        f'{", ".join(WEIGHTS + AVERAGED_WEIGHTS)} is expected'
    )


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(key, str) for key in value)
        and any(isinstance(item, Tensor) for item in value.values())
    )


def _find_task(state_dict: Mapping[str, Tensor]) -> tuple[str, int | None]:
    heads = (
        ('cls', 'classifier.3.weight', 0),
        ('cls', 'head.fc.weight', 0),
        ('det', 'roi_head.bbox_head.fc_cls.weight', -1),  # and background
        ('seg', 'decode_head.conv_seg.weight', 0),
    )
    for task, key, surplus in heads:
        if key in state_dict:
            return task, len(state_dict[key]) + surplus
    roots = {key.split('.')[0] for key in state_dict}
    if 'decode_head' in roots:
        return 'seg', None
    if roots & {'neck', 'rpn_head', 'roi_head', 'bbox_head'}:
        return 'det', None
    return 'backbone', None


def _find_post_norm(meta: Mapping[str, Any]) -> bool | None:
    """Find in the config of an official file whether blocks are post-norm."""
    node: Any = meta.get('config')
    for key in ('MODEL', 'VHEAT', 'POST_NORM'):
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, bool) else None


def _to_plain(value: Any) -> Any:
    """Turn what was read into plain dicts and lists without tensors."""
    if isinstance(value, dict):
        return {
            key: _to_plain(item)
            for key, item in value.items()
            if not isinstance(item, Tensor)
        }
    if isinstance(value, (list, tuple)):
        items = [_to_plain(v) for v in value if not isinstance(v, Tensor)]
        return type(value)(items) if type(value) in (list, tuple) else items
    return value.tolist() if hasattr(value, 'tolist') else value


def _name_type(value: Any) -> str:
    if isinstance(value, Tensor):
        return f'a tensor of shape {tuple(value.shape)}'
    return f'a {type(value).__name__}'
