"""Draw what a model sees in one image or a folder of them.

    python tools/infer.py IMAGE_OR_FOLDER --config CONFIG \
        --checkpoint CHECKPOINT --out-dir DIR

Boxes and masks, label maps, class names or a restored image, as the config
says. DIR receives ``vis/`` with one picture per image, and the predictions:
``label_maps/`` for segmentation, ``restored/`` for restoration, else
``predictions.json``. Sub-folders are kept.

A restorer degrades the image first, as the config's test does, and the picture
shows degraded, restored and clean image and their difference; with
``--degraded`` it takes the image as it is. Images of more than a million
pixels are restored in tiles; ``--cfg-options model.tile=SIDE`` sets a side.
"""

from __future__ import annotations

import os
import os.path as osp
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

import mmcv
import mmengine
import numpy as np
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DATASETS, init_default_scope
from tqdm import tqdm

from mmvheat.commands.config import (
    ConfigOptions,
    innermost_dataset,
    load_config,
)
from mmvheat.errors import UserError, run_main

Predict = Callable[[str], tuple[np.ndarray, Any]]
"""From an image file to its picture, RGB, and what is predicted."""

_WHOLE_PIXELS = 2**20
"""More are restored in tiles: a narrow network needs 2.5 GB a million."""
_NO_MEMORY = ('out of memory', "can't allocate memory")
_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


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
    parser.add_argument(
        '--device',
        default=get_device(),
        help='cpu, cuda or cuda:N (default: a GPU if there is one)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='change settings of the config',
    )
    return parser.parse_args()


def list_images(path: str) -> tuple[str, list[str]]:
    """Find the images below ``path``.

    Args:
        path (str): An image or a folder.

    Returns:
        tuple[str, list[str]]: The root folder, and the images in it as
        sorted relative paths.

    Raises:
        UserError: There is no such path, or no image in it.
    """
    if osp.isfile(path):
        return osp.split(path)[0], [osp.basename(path)]
    if not osp.isdir(path):
        raise UserError(
            f'{path} does not exist; give an image or a folder of images.'
        )
    names = [
        osp.relpath(osp.join(folder, name), path)
        for folder, _, files in os.walk(path)
        for name in files
        if name.lower().endswith(_EXTENSIONS)
    ]
    if not names:
        raise UserError(
            f'The folder {path} holds no image ({", ".join(_EXTENSIONS)}).'
        )
    return path, sorted(names)


def read_metainfo(cfg: Config) -> dict:
    """The classes and palette that the test data of ``cfg`` has."""
    init_default_scope(cfg.default_scope)
    settings = innermost_dataset(cfg.test_dataloader.dataset).copy()
    settings.update(lazy_init=True, pipeline=[])
    return DATASETS.build(settings).metainfo


def build_detector(cfg: Config, args: Namespace, meta: dict) -> Predict:
    """Let mmdet draw boxes and masks; predictions are what its JSON holds."""
    from mmdet.apis import DetInferencer

    inferencer = DetInferencer(
        cfg, args.checkpoint, args.device, show_progress=False
    )
    inferencer.visualizer.dataset_meta = meta

    def predict(path: str) -> tuple[np.ndarray, dict]:
        result = inferencer(
            path, return_vis=True, pred_score_thr=args.score_thr
        )
        return result['visualization'][0], result['predictions'][0]

    return predict


def build_segmentor(cfg: Config, args: Namespace, meta: dict) -> Predict:
    """Let mmseg draw label maps; predictions are label maps, (H, W)."""
    from mmseg.apis import MMSegInferencer

    inferencer = MMSegInferencer(cfg, args.checkpoint, device=args.device)
    inferencer.show_progress = False
    inferencer.model.dataset_meta = {
        key: meta[key] for key in ('classes', 'palette')
    }

    def predict(path: str) -> tuple[np.ndarray, np.ndarray]:
        result = inferencer(path, return_vis=True)
        return result['visualization'], result['predictions']

    return predict


def build_classifier(cfg: Config, args: Namespace, meta: dict) -> Predict:
    """Let mmpretrain name the class; a small image is enlarged for it."""
    from mmpretrain import ImageClassificationInferencer
    from mmpretrain.visualization import UniversalVisualizer

    inferencer = ImageClassificationInferencer(
        cfg, args.checkpoint, args.device
    )
    # Classes that are folder names stand in the checkpoint alone.
    inferencer.classes = inferencer.classes or meta.get('classes')
    visualizer = UniversalVisualizer()

    def predict(path: str) -> tuple[np.ndarray, dict]:
        # Called in one, it would show a progress bar for every image.
        (data,) = inferencer.preprocess([path])
        samples = inferencer.forward(data)
        image = mmcv.imread(path, channel_order='rgb')
        picture = visualizer.visualize_cls(
            image,
            samples[0],
            classes=inferencer.classes,
            rescale_factor=max(1.0, 224 / max(image.shape[:2])),
            draw_gt=False,
        )
        (prediction,) = inferencer.postprocess(samples, None)
        return picture, prediction

    return predict


def build_restorer(cfg: Config, args: Namespace, _: dict) -> Predict:
    """Restore images; predictions are restored images, (H, W, C) uint8."""
    from mmvheat.visualization.layers import PictureError
    from mmvheat.visualization.networks import load_network
    from mmvheat.visualization.restoration import draw_restoration
    from mmvheat.visualization.style import render

    try:
        network = load_network(
            args.config,
            args.checkpoint,
            device=args.device,
            options=args.cfg_options,
        )
    except PictureError as error:
        raise UserError(str(error)) from error
    model = network.model
    tile, overlap = model.tile, model.overlap

    def predict(path: str) -> tuple[np.ndarray, np.ndarray]:
        try:
            sample = network.prepare(path, args.degraded)
            model.tile, model.overlap = tile, overlap
            height, width = sample.inputs.shape[2:]
            if tile is None and height * width > _WHOLE_PIXELS:
                model.tile, model.overlap = 512, 64
                tqdm.write(f'{path}: {width}x{height}, in tiles of 512')
            restoration = network.restore(sample)
        except PictureError as error:
            raise UserError(f'{error} (--degraded)') from error
        except RuntimeError as error:
            if not any(words in str(error) for words in _NO_MEMORY):
                raise
            raise UserError(
                f'There is too little memory for {path}; restore it in '
                'smaller tiles, --cfg-options model.tile=128 model.overlap=32.'
            ) from error
        channels = network.backbone.in_channels
        picture = render(draw_restoration(restoration))
        return picture, restoration.restored[..., :channels]

    return predict


def main() -> None:
    """Infer."""
    # Said by mmengine whenever it looks for a package.
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    args = parse_args()
    root, names = list_images(args.input)
    cfg = load_config(args.config, args.cfg_options)
    if not osp.isfile(args.checkpoint) and '://' not in args.checkpoint:
        raise UserError(f'The checkpoint {args.checkpoint} does not exist.')
    cfg.visualizer.vis_backends = []
    build = dict(
        mmdet=build_detector,
        mmseg=build_segmentor,
        mmpretrain=build_classifier,
        mmengine=build_restorer,
    )[cfg.default_scope]
    is_restorer = cfg.default_scope == 'mmengine'
    meta = {} if is_restorer else read_metainfo(cfg)
    predict = build(cfg, args, meta)

    predictions, unreadable = {}, []
    for name in tqdm(names, desc='infer', unit='image'):
        path = osp.join(root, name)
        if _is_unreadable(path):
            unreadable.append(path)
            continue
        picture, prediction = predict(path)
        stem = osp.splitext(name)[0]
        mmcv.imwrite(picture[..., ::-1], f'{args.out_dir}/vis/{stem}.png')
        if cfg.default_scope == 'mmseg':
            mmcv.imwrite(
                prediction.astype(np.uint8),
                f'{args.out_dir}/label_maps/{stem}.png',
            )
        elif is_restorer:
            mmcv.imwrite(
                prediction[..., ::-1], f'{args.out_dir}/restored/{stem}.png'
            )
        else:
            predictions[name] = prediction
    if predictions:
        mmengine.dump(predictions, f'{args.out_dir}/predictions.json')
    print(f'{len(names) - len(unreadable)} images drawn in {args.out_dir}/vis')
    if unreadable:
        raise UserError(
            f'{len(unreadable)} of {len(names)} images could not be read and '
            f'were left out: {", ".join(unreadable[:5])}.'
        )


def _is_unreadable(path: str) -> bool:
    try:
        return mmcv.imread(path) is None
    except Exception:
        return True


if __name__ == '__main__':
    run_main(main)
