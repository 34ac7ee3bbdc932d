"""Loading checkpoints into a vHeat backbone."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmvheat.ops import resize_freq_embed

from .architecture import BackboneInfo, describe_backbone
from .layout import (
    Checkpoint,
    find_nonfinite,
    parse_checkpoint,
)
from .reader import CheckpointError
from .scheme import load_content

STEM = 'patch_embed.conv1.weight'


@dataclass
class LoadReport:
    """What happened to the tensors of a checkpoint.

    Attributes:
        loaded (list[str]): Parameters that were set, resized ones included.
        resized (list[str]): FVEs whose grid was changed.
        missing (list[str]): Parameters the checkpoint does not have.
        unexpected (list[str]): Its backbone tensors the module does not have.
        dropped (list[str]): Its tensors that belong to a classifier, neck
            or head.
    """

    loaded: list[str]
    resized: list[str]
    missing: list[str]
    unexpected: list[str]
    dropped: list[str]

    def __str__(self) -> str:
        def count(name: str, keys: Sequence[str]) -> str:
            return f'{len(keys)} {name}{_summarize(keys)}'

        return ', '.join(
            (
                f'{len(self.loaded)} tensors loaded',
                f'{len(self.resized)} FVEs resized',
                count('missing', self.missing),
                count('unexpected', self.unexpected),
                count('of the head dropped', self.dropped),
            )
        )


def load_pretrained(
    module: nn.Module,
    source: str,
    *,
    mode: str = 'pad',
    ema: bool = False,
    logger: Any = 'current',
) -> LoadReport:
    """Load any vHeat checkpoint into a backbone and log what was loaded.

    What was loaded is kept as ``module.load_report``, too.

    FVEs of another grid are resized and stem weights adapted to the image
    channels; classifier, neck and heads are dropped. The output norms may be
    missing: official classifiers have none.

    Args:
        module (nn.Module): A vHeat backbone.
        source (str): File or URL of a checkpoint of any layout.
        mode (str): ``'pad'`` or ``'bicubic'``, see
            :func:`mmvheat.ops.resize_freq_embed`. Defaults to 'pad'.
        ema (bool): Take the averaged weights. Defaults to False.
        logger (Any): See :func:`mmengine.logging.print_log`.
            Defaults to 'current'.

    Returns:
        LoadReport: Counts and names.

    Raises:
        CheckpointError: If it cannot be read or does not fit the module.
    """
    source = str(source)
    checkpoint = parse_checkpoint(load_content(source), source, ema=ema)
    targets = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    _check_architecture(checkpoint, targets)
    _check_norm_order(checkpoint, module)
    weights = checkpoint.backbone_state()
    notes = adapt_state_dict(weights, targets, mode=mode, logger=None)
    report = _report(checkpoint, weights, targets)
    module.load_report = report
    module.load_state_dict(
        {key: weights[key] for key in report.loaded}, strict=False
    )
    bad = find_nonfinite({key: weights[key] for key in report.loaded})
    if bad:
        print_log(
            f'{source} holds NaN or infinity in {", ".join(bad)}',
            logger=logger,
            level=logging.WARNING,
        )
    averaged = 'averaged weights of ' if ema else ''
    details = f' ({"; ".join(notes)})' if notes else ''
    print_log(
        f'{averaged}{source}, {checkpoint.backbone}: {report}{details}',
        logger=logger,
    )
    return report


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
        elif name == STEM and value.shape[1] == 3:
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


def _check_architecture(
    checkpoint: Checkpoint, targets: Mapping[str, Sequence[int]]
) -> None:
    module = describe_backbone(targets, 'the model')
    stages = len(module.embed_dims)  # stages nobody reads do not exist
    found = checkpoint.backbone

    def key(info: BackboneInfo) -> tuple:
        return (
            info.embed_dims[:stages],
            info.depths[:stages],
            info.mlp_ratio,
            info.layer_scale,
        )

    if key(module) == key(found):
        return
    reason = ''
    if module.mlp_ratio != found.mlp_ratio:
        reason = f'; mlp_ratio {module.mlp_ratio} and {found.mlp_ratio}'
    if module.layer_scale != found.layer_scale:
        words = {True: 'with', False: 'without'}
        reason += (
            f'; the model is {words[module.layer_scale]} layer scale, the '
            f'checkpoint {words[found.layer_scale]}'
        )
    raise CheckpointError(
        f'{checkpoint.source} is of another architecture: expected {module}, '
        f'found {found}{reason}'
    )


def _check_norm_order(checkpoint: Checkpoint, module: nn.Module) -> None:
    # Pre-norm and post-norm have the same parameters, so only a config in
    # the file can tell that they were mixed up.
    found = checkpoint.post_norm
    expected = module.layers[0][0].post_norm
    if found is not None and found != expected:
        raise CheckpointError(
            f'{checkpoint.source} is of another architecture: the model has '
            f'post_norm={expected}, but the config in the checkpoint says '
            f'{found}'
        )


def _report(
    checkpoint: Checkpoint,
    weights: Mapping[str, Tensor],
    targets: Mapping[str, Sequence[int]],
) -> LoadReport:
    loaded = [key for key in targets if key in weights]
    for key in loaded:
        if tuple(weights[key].shape) != tuple(targets[key]):
            raise CheckpointError(
                f'{checkpoint.source} does not fit: {key} has the shape '
                f'{tuple(weights[key].shape)}, but {tuple(targets[key])} is '
                'expected'
            )
    originals = checkpoint.backbone_state()
    outside = set(checkpoint.state_dict) - {
        checkpoint.prefix + key for key in originals
    }
    return LoadReport(
        loaded=loaded,
        resized=[
            key
            for key in loaded
            if key.startswith('freq_embed.')
            and originals[key].shape != weights[key].shape
        ],
        missing=[key for key in targets if key not in weights],
        unexpected=[key for key in weights if key not in targets],
        dropped=sorted(outside),
    )


def _summarize(keys: Sequence[str]) -> str:
    """Name the modules of some keys: ' (outnorm0, outnorm1)'."""
    names: dict[str, None] = {}
    for key in keys:
        names[key.split('.')[0]] = None
    return f' ({", ".join(names)})' if names else ''
