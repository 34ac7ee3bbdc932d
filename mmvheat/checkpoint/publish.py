"""Trained models in the layout of the official checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmvheat.version import __version__

from .converter import to_official
from .layout import find_nonfinite, read_checkpoint
from .writer import check_target, hash_file, write_checkpoint


def publish(source: str, target: str, force: bool = False) -> str:
    """Export one checkpoint and say what was written.

    Args:
        source (str): Checkpoint of a classifier, detector, segmentor or
            backbone.
        target (str): The file to write.
        force (bool): Replace an existing target. Defaults to False.

    Returns:
        str: One sentence.

    Raises:
        CheckpointError: If the source cannot be read or the target not be
            written.
    """
    check_target(target, sources=(source,), force=force)
    checkpoint = read_checkpoint(source)
    weights, key = checkpoint.state_dict, 'state_dict'
    if checkpoint.task in ('cls', 'backbone'):
        key = 'model'
        if checkpoint.task == 'backbone':
            weights = checkpoint.backbone_state()
        elif checkpoint.prefix:
            weights = to_official(weights)
    meta = describe_source(source, weights)
    write_checkpoint(weights, target, meta=meta, key=key)
    return (
        f'{target}: {len(weights)} tensors of {checkpoint.backbone} under '
        f"'{key}'"
    )


def describe_source(
    source: str, weights: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Describe where weights come from; warn if they are not finite."""
    bad = find_nonfinite(weights)
    if bad:
        print(
            f'warning: {source} holds NaN or infinity in {", ".join(bad)}',
            file=sys.stderr,
        )
    return dict(
        source=Path(source).name,
        source_sha256=hash_file(source),
        mmvheat_version=__version__,
    )
