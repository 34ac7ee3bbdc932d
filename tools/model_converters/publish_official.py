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

from mmvheat.checkpoint import CheckpointError
from mmvheat.checkpoint.publish import publish


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
