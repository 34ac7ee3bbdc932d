#!/usr/bin/env python
"""Write a model as a folder such as the Hugging Face Hub holds.

    python tools/deployment/snapshot.py CONFIG CHECKPOINT FOLDER
    python tools/deployment/snapshot.py tiny vHeat_tiny.pth FOLDER --backbone

``config.json``, ``model.safetensors`` and a card to complete, README.md;
``mmvheat.export.load_snapshot(FOLDER)`` reads them, see docs/deployment.md.
"""

from __future__ import annotations

import argparse
import os

from mmvheat.errors import run_main
from mmvheat.export import build_backbone, build_model, write_snapshot


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Write a model for the Hugging Face Hub.',
        allow_abbrev=False,
    )
    parser.add_argument(
        'config', help='config file; with --backbone also the name of an arch'
    )
    parser.add_argument(
        'checkpoint', help='checkpoint file; none for random weights'
    )
    parser.add_argument('folder', help='folder to make or fill')
    parser.add_argument(
        '--backbone', action='store_true', help='the backbone alone'
    )
    parser.add_argument(
        '--force', action='store_true', help='replace the snapshot in it'
    )
    return parser.parse_args()


def main() -> None:
    """Write a snapshot by the options of the command line."""
    args = parse_args()
    if args.backbone:
        model = build_backbone(args.config, args.checkpoint)
    else:
        model, _ = build_model(args.config, args.checkpoint)
    write_snapshot(model, args.folder, force=args.force)
    print(f'{args.folder}: {", ".join(sorted(os.listdir(args.folder)))}')


if __name__ == '__main__':
    run_main(main)
