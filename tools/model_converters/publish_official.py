#!/usr/bin/env python
"""Export a trained model in the layout of the official vHeat checkpoints.

    python tools/model_converters/publish_official.py SOURCE TARGET [--force]

A classifier becomes ``{'model': ...}`` with the official names, as the
official classification code reads it. A detector or segmentor keeps its names
and becomes ``{'state_dict': ...}``, as the official releases have it. The file
holds tensors and plain values alone, so any ``torch.load`` reads it. Where an
EMA hook was used, mmengine's checkpoints hold the averaged weights.
"""

import argparse
import sys
from pathlib import Path

from mmvheat import __version__
from mmvheat.checkpoint import (
    CheckpointError,
    check_target,
    find_nonfinite,
    hash_file,
    read_checkpoint,
    to_official,
    write_checkpoint,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Export a trained model as an official checkpoint.',
        allow_abbrev=False,
    )
    parser.add_argument('source', help='checkpoint of mmengine')
    parser.add_argument('target', help='file to write')
    parser.add_argument(
        '--force', action='store_true', help='replace an existing target'
    )
    return parser.parse_args()


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
    bad = find_nonfinite(weights)
    if bad:
        print(
            f'warning: {source} holds NaN or infinity in {", ".join(bad)}',
            file=sys.stderr,
        )
    meta = dict(
        source=Path(source).name,
        source_sha256=hash_file(source),
        mmvheat_version=__version__,
    )
    write_checkpoint(weights, target, meta=meta, key=key)
    return (
        f'{target}: {len(weights)} tensors of {checkpoint.backbone} under '
        f"'{key}'"
    )


def main() -> int:
    """Export; return the exit status."""
    args = parse_args()
    try:
        print(publish(args.source, args.target, args.force))
    except (CheckpointError, OSError) as error:
        print(f'{Path(sys.argv[0]).name}: error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
