"""The command line ``mmvheat export``, ``tools/deployment/export.py``."""

from __future__ import annotations

import argparse
import os

from mmvheat.checkpoint import check_target

from .whole import (
    CALIBRATION_IMAGES,
    check_packages,
    check_precision,
    export_backbone,
    export_model,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Export a whole model.', allow_abbrev=False
    )
    parser.add_argument(
        'config', help='config file; with --backbone also the name of an arch'
    )
    parser.add_argument(
        'checkpoint', help='checkpoint file; none for random weights'
    )
    parser.add_argument('target', help='file to write')
    parser.add_argument(
        '--format',
        choices=['onnx', 'torch-export', 'aoti'],
        default='onnx',
        help='of the file (default: onnx)',
    )
    parser.add_argument(
        '--backbone',
        action='store_true',
        help='feature maps of normalised images (B, C, H, W) alone',
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument(
        '--fp16', action='store_true', help='half precision (onnx)'
    )
    precision.add_argument(
        '--int8',
        action='store_true',
        help=f'quantise by {CALIBRATION_IMAGES} images (onnx)',
    )
    parser.add_argument(
        '--calibrate',
        metavar='FOLDER',
        help='images for --int8 (default: training images of the config)',
    )
    parser.add_argument(
        '--dynamic', action='store_true', help='take images of any size'
    )
    parser.add_argument(
        '--batch', action='store_true', help='take any number of images'
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='size of the images (default: by the test pipeline)',
    )
    parser.add_argument(
        '--paste-masks',
        action='store_true',
        help='give masks of the size of the image, not of the boxes',
    )
    parser.add_argument(
        '--img-size',
        type=int,
        help='with --backbone: image size whose frequency grid the '
        'embeddings get (default: that of the config, 224 for an arch)',
    )
    parser.add_argument(
        '--force', action='store_true', help='replace an existing target'
    )
    return parser.parse_args()


def main() -> None:
    """Export by the options of the command line."""
    args = parse_args()
    check_packages()
    check_target(args.target, force=args.force)
    options = {
        name: getattr(args, name)
        for name in ('format', 'dynamic', 'batch', 'size')
    }
    given = args.config, args.checkpoint, args.target
    if args.backbone:
        if args.fp16 or args.int8:
            check_precision(args.format, backbone=True)
        difference = export_backbone(*given, img_size=args.img_size, **options)
    else:
        difference = export_model(
            *given,
            fp16=args.fp16,
            int8=args.int8,
            calibrate=args.calibrate,
            paste_masks=args.paste_masks,
            **options,
        )
    megabytes = os.path.getsize(args.target) / 1e6
    what = 'backbone' if args.backbone else 'model'
    print(
        f'{args.target}: {args.config} with {args.checkpoint}, within '
        f'{difference:.0e} of the {what}, {megabytes:.1f} MB'
    )
