"""Saying what a checkpoint is."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from .layout import Checkpoint, find_nonfinite

USES = {
    'cls': "init_cfg=dict(type='Pretrained') of a backbone without the "
    'classifier, or load_from of an ImageClassifier with it',
    'det': "init_cfg=dict(type='Pretrained') of a backbone, or load_from of "
    'a detector',
    'seg': "init_cfg=dict(type='Pretrained') of a backbone, or load_from of "
    'a segmentor',
    'backbone': "init_cfg=dict(type='Pretrained') of a backbone",
}


def summarize_checkpoint(checkpoint: Checkpoint) -> dict[str, str]:
    """Say what a checkpoint is, as rows of a table: property and value."""
    info = checkpoint.backbone
    backbone = checkpoint.backbone_state()
    total = _count(checkpoint.state_dict.values())
    inside = _count(backbone.values())
    rows = {
        'file': checkpoint.source,
        'layout': checkpoint.layout
        + (f', prefix {checkpoint.prefix}' if checkpoint.prefix else ''),
        'arch': info.name or 'custom',
        'embed_dims': ', '.join(map(str, info.embed_dims)),
        'depths': ', '.join(map(str, info.depths)),
        'layer_scale': str(info.layer_scale),
        'img_size': 'x'.join(map(str, info.img_size)),
        'FVE grids': ', '.join(f'{h}x{w}' for h, w in info.grids),
        'task': checkpoint.task
        + (
            f', {checkpoint.num_classes} classes'
            if checkpoint.num_classes
            else ''
        ),
        'parameters': f'{inside / 1e6:.2f} M backbone, '
        f'{(total - inside) / 1e6:.2f} M head',
        'averaged weights': 'yes' if checkpoint.has_ema else 'no',
    }
    if checkpoint.post_norm is not None:
        rows['post_norm'] = str(checkpoint.post_norm)
    if checkpoint.epoch is not None:
        rows['epoch'] = str(checkpoint.epoch)
    if checkpoint.accuracy is not None:
        rows['accuracy'] = f'{checkpoint.accuracy:.2f} %'
    rows['loads by'] = USES[checkpoint.task]
    bad = find_nonfinite(checkpoint.state_dict)
    if bad:
        rows['NaN or infinity'] = ', '.join(bad)
    return rows


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)
