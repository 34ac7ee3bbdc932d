#!/usr/bin/env python
"""Export a whole model to a program that runs without OpenMMLab.

    python tools/deployment/export.py CONFIG CHECKPOINT model.onnx
    python tools/deployment/export.py CONFIG CHECKPOINT model.onnx --dynamic
    python tools/deployment/export.py tiny none vheat-t.onnx --backbone

The program takes uint8 images (B, H, W, 3), RGB, and holds normalisation,
network, decoding of boxes and suppression. Classes, palette and thresholds
are in the file. It is run and compared with the model before it appears.
``python -m mmvheat.deploy model.onnx IMAGE`` paints what it predicts, see
docs/deployment.md. Needs onnx, onnxscript and onnxruntime.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import warnings

import numpy as np
from mmengine.config import Config

from mmvheat.checkpoint import check_target
from mmvheat.errors import UserError, run_main

_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
_CALIBRATION_IMAGES = 100


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
        help=f'quantise by {_CALIBRATION_IMAGES} images (onnx)',
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


def check_args(args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    missing = [p for p in _PACKAGES if not importlib.util.find_spec(p)]
    if missing:
        raise UserError(
            f'The export needs {", ".join(missing)}; run pip install '
            f'{" ".join(missing)}.'
        )
    if args.format != 'onnx' and (args.fp16 or args.int8):
        raise UserError(
            f'--fp16 and --int8 are for --format onnx, not {args.format}; '
            'leave them out.'
        )
    if args.backbone and (args.fp16 or args.int8):
        raise UserError(
            '--fp16 and --int8 are for whole models; leave out --backbone.'
        )
    if args.size and min(args.size) < 32:
        raise UserError(
            f'--size expects at least 32 pixels, but got {min(args.size)}.'
        )
    check_target(args.target, force=args.force)


def export_backbone(args: argparse.Namespace) -> float:
    """Export a backbone; return the largest difference found."""
    from mmvheat.export import build_backbone, export
    from mmvheat.export.programs import Backbone

    backbone = build_backbone(args.config, args.checkpoint, args.img_size)
    return export(
        Backbone(backbone),
        args.target,
        format=args.format,
        size=tuple(args.size or backbone.img_size),
        dynamic=args.dynamic,
        batch=args.batch,
    )


def export_model(args: argparse.Namespace) -> float:
    """Export a whole model; return the largest difference found."""
    from mmvheat.export import (
        build_model,
        build_program,
        choose_size,
        describe,
        export,
    )

    model, cfg = build_model(args.config, args.checkpoint)
    program = build_program(model, args.fp16, args.paste_masks)
    if args.format != 'onnx' and program.task == 'detection':
        raise UserError(
            'The operators nms and roi_align of mmcv in '
            f'{type(model).__name__} have a form in ONNX alone; use '
            f'--format onnx, or --backbone with {args.format}.'
        )
    meta = describe(program, cfg)
    size = tuple(args.size or choose_size(model, cfg, meta))
    images = read_images(args, cfg, {**meta, 'size': size})
    return export(
        program,
        args.target,
        format=args.format,
        size=size,
        dynamic=args.dynamic,
        batch=args.batch,
        meta=meta,
        calibration=images if args.int8 else None,
        sample=images[0] if images else None,
    )


def read_images(
    args: argparse.Namespace, cfg: Config, meta: dict
) -> list[np.ndarray]:
    """Read images to calibrate and compare with; to compare, one will do."""
    from mmvheat.deploy import DeployError, list_images, prepare, read_image
    from mmvheat.export import list_training_images

    count = _CALIBRATION_IMAGES if args.int8 else 1
    try:
        if args.calibrate:
            paths = list_images(args.calibrate)[:count]
        else:
            paths = list_training_images(cfg, count)
        images = [prepare(read_image(p), meta)[0] for p in paths]
    except (DeployError, UserError) as error:
        if not args.int8:
            return []
        raise UserError(str(error)) from error
    return [fit(image, meta['size'])[None] for image in images]


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut the first window of what is larger, repeat what is smaller."""
    image = image[: size[0], : size[1]]
    rows, columns = (-(-s // n) for s, n in zip(size, image.shape))
    return np.tile(image, (rows, columns, 1))[: size[0], : size[1]]


def main() -> None:
    """Export by the options of the command line."""
    # Said by mmengine whenever it looks for a package.
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    args = parse_args()
    check_args(args)
    run = export_backbone if args.backbone else export_model
    difference = run(args)
    megabytes = os.path.getsize(args.target) / 1e6
    what = 'backbone' if args.backbone else 'model'
    print(
        f'{args.target}: {args.config} with {args.checkpoint}, within '
        f'{difference:.0e} of the {what}, {megabytes:.1f} MB'
    )


if __name__ == '__main__':
    run_main(main)
