"""The command line ``mmvheat infer``, ``tools/infer.py``."""

from __future__ import annotations

import os.path as osp
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path

import cv2
import mmcv
import mmengine
import numpy as np
from tqdm import tqdm

from mmvheat.datasets.checks import unreadable_file
from mmvheat.errors import UserError
from mmvheat.visualization.predictions import make_predictor

from .arguments import add_options, list_images
from .config import load_config, make_folder

WRITTEN = ('vis', 'label_maps', 'restored')
"""Folders of pictures below the one to fill."""


def parse_args() -> Namespace:
    """Read the command line."""
    parser = ArgumentParser(
        description='Draw the predictions of a model on images.'
    )
    parser.add_argument('input', help='an image or a folder of images')
    parser.add_argument('--config', required=True, help='config file')
    parser.add_argument('--checkpoint', required=True, help='checkpoint file')
    parser.add_argument('--out-dir', required=True, help='folder to fill')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='least score of a box or mask drawn (default: 0.3)',
    )
    parser.add_argument(
        '--degraded',
        action='store_true',
        help='for restoration: the images are degraded already',
    )
    add_options(parser, '--device', '--cfg-options')
    return parser.parse_args()


def find_images(path: str, out: str) -> dict[str, str]:
    """Find images by their names, without pictures of an earlier run.

    Raises:
        UserError: There is none.
    """
    root = Path(path).resolve()
    written = [Path(out, name).resolve() for name in WRITTEN]
    written = [w for w in written if not root.is_relative_to(w)]
    found = {
        name: image
        for name, image in list_images(path).items()
        if not any(Path(image).resolve().is_relative_to(w) for w in written)
    }
    if not found:
        raise UserError(f'{path} holds no image but those drawn into {out}.')
    return found


def main() -> None:
    """Infer."""
    args = parse_args()
    images = find_images(args.input, args.out_dir)
    stems = Counter(osp.splitext(name)[0] for name in images)
    cfg = load_config(args.config, args.cfg_options)
    if not osp.isfile(args.checkpoint) and '://' not in args.checkpoint:
        raise UserError(f'The checkpoint {args.checkpoint} does not exist.')
    predict = make_predictor(
        cfg,
        args.checkpoint,
        args.device,
        score_thr=args.score_thr,
        options=args.cfg_options,
        is_degraded=args.degraded,
    )
    make_folder(args.out_dir, '--out-dir')
    is_label_map = cfg.default_scope == 'mmseg'
    predictions, left_out = {}, []
    try:
        for name, path in tqdm(images.items(), desc='infer', unit='image'):
            if unreadable_file([path]):
                left_out.append(path)
                continue
            try:
                picture, prediction = predict(path)
            except cv2.error as error:
                if error.func != 'resize':
                    raise
                left_out.append(path)  # nothing is left of its short side
                continue
            stem = osp.splitext(name)[0]
            stem = name if stems[stem] > 1 else stem  # a.jpg beside a.png
            write_picture(picture, f'{args.out_dir}/vis/{stem}.png')
            if not isinstance(prediction, np.ndarray):
                predictions[name] = prediction
                continue
            folder = 'label_maps' if is_label_map else 'restored'
            write_picture(prediction, f'{args.out_dir}/{folder}/{stem}.png')
    finally:  # what was found before a run is stopped
        if predictions:
            mmengine.dump(predictions, f'{args.out_dir}/predictions.json')
    print(f'{len(images) - len(left_out)} images drawn in {args.out_dir}/vis')
    if left_out:
        raise UserError(
            f'{len(left_out)} of {len(images)} images could not be read or '
            f'resized and were left out: {", ".join(left_out[:5])}.'
        )


def write_picture(picture: np.ndarray, path: str) -> None:
    """Write an image, RGB (H, W, 3), or a map (H, W)."""
    if picture.ndim == 3:
        picture = picture[..., ::-1]
    mmcv.imwrite(picture, path)
