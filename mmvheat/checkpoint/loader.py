"""Loading checkpoints into a vHeat backbone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmvheat.models.weights import adapt_state_dict

from .arch import BackboneInfo, describe_backbone
from .layout import Checkpoint, find_nonfinite, parse_checkpoint
from .reader import CheckpointError
from .scheme import load_content


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
    prefix: str | None = None,
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
        prefix (str, optional): What the backbone's keys start with, such as
            ``'teacher.backbone.'``, where the file does not have them bare or
            under ``'backbone.'``. Defaults to None.
        logger (Any): See :func:`mmengine.logging.print_log`.
            Defaults to 'current'.

    Returns:
        LoadReport: Counts and names.

    Raises:
        CheckpointError: If it cannot be read or does not fit the module.

    Example:
        A classifier of 32 pixels fills a backbone with the grid of 64:

        >>> import tempfile, torch
        >>> from mmvheat.models import vHeat
        >>> arch = dict(
        ...     embed_dims=8, depths=(1, 1, 1, 1), post_norm=False,
        ...     layer_scale=None,
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     weights = vHeat(arch, img_size=32).state_dict()
        ...     torch.save(dict(model=weights), f'{folder}/small.pth')
        ...     report = load_pretrained(
        ...         vHeat(arch, img_size=64), f'{folder}/small.pth',
        ...         logger='silent',
        ...     )
        >>> report.resized
        ['freq_embed.0', 'freq_embed.1', 'freq_embed.2', 'freq_embed.3']
        >>> report.missing
        []
    """
    source = str(source)
    content = load_content(source)
    checkpoint = parse_checkpoint(content, source, ema=ema, prefix=prefix)
    targets = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    _check_arch(checkpoint, targets)
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


def _check_arch(
    checkpoint: Checkpoint, targets: Mapping[str, Sequence[int]]
) -> None:
    module = describe_backbone(targets, 'the model')
    stages = len(module.embed_dims)  # stages nobody reads do not exist
    found = checkpoint.backbone

    def key(info: BackboneInfo) -> tuple:
        return (
            info.embed_dims[:stages],
            info.depths[:stages],
            info.hidden_dims[:stages],
            info.layer_scale,
        )

    if key(module) == key(found):
        return
    reason = ''
    if (
        module.embed_dims == found.embed_dims[:stages]
        and module.hidden_dims != found.hidden_dims[:stages]
    ):
        ratios = (f'{float(i.mlp_ratio):.4g}' for i in (module, found))
        reason = f'; mlp_ratio {" and ".join(ratios)}'
    if module.layer_scale != found.layer_scale:
        words = {True: 'with', False: 'without'}
        reason += (
            f'; the model is {words[module.layer_scale]} layer scale, the '
            f'checkpoint {words[found.layer_scale]}'
        )
    raise CheckpointError(
        f'{checkpoint.source} is of another arch: expected {module}, '
        f'found {found}{reason}'
    )


def _check_norm_order(checkpoint: Checkpoint, module: nn.Module) -> None:
    # Pre-norm and post-norm have the same parameters, so only a config in
    # the file can tell that they were mixed up.
    found = checkpoint.post_norm
    expected = module.layers[0][0].post_norm
    if found is not None and found != expected:
        raise CheckpointError(
            f'{checkpoint.source} is of another arch: the model has '
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
    names = dict.fromkeys(key.split('.')[0] for key in keys)
    return f' ({", ".join(names)})' if names else ''
