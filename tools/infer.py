"""Draw what a model sees in one image or a folder of them.

    python tools/infer.py IMAGE_OR_FOLDER --config CONFIG \
        --checkpoint CHECKPOINT --out-dir DIR

Boxes and masks, label maps or class names, as the config says. DIR receives
``vis/`` with one picture per image, and the predictions: ``label_maps/`` for
segmentation, else ``predictions.json``. Sub-folders are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import os.path as osp
from collections.abc import Callable

import mmcv
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement
from PIL import Image
from tqdm import tqdm

from mmvheat.checkpoint import register_safe_loader
from mmvheat.engine.config import ConfigOptions, innermost_dataset, load_config
from mmvheat.engine.errors import UserError, run_main

_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
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
        '--device', help='cpu, cuda or cuda:N (default: a GPU if there is one)'
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


def class_names(cfg: Config) -> dict:
    """The classes and palette that the test data of ``cfg`` has."""
    init_default_scope(cfg.default_scope)
    settings = innermost_dataset(cfg.test_dataloader.dataset).copy()
    settings.update(lazy_init=True, pipeline=[])
    return DATASETS.build(settings).metainfo


class Predictor:
    """One interface to the inferencers of the three libraries.

    Args:
        cfg (Config): The config.
        checkpoint (str): The checkpoint file.
        device (str): Where to run.
        score_thr (float): Least score of an instance drawn.
    """

    def __init__(
        self, cfg: Config, checkpoint: str, device: str, score_thr: float
    ) -> None:
        self.scope = cfg.default_scope
        self.score_thr = score_thr
        build: Callable = getattr(self, f'_build_{self.scope}')
        self.inferencer = build(cfg, checkpoint, device)
        self.inferencer.show_progress = False
        meta = class_names(cfg)
        # Classes that are folder names stand in the checkpoint alone.
        self.classes = getattr(self.inferencer, 'classes', None) or meta.get(
            'classes'
        )
        self.inferencer.visualizer.dataset_meta = meta

    @staticmethod
    def _build_mmdet(cfg: Config, checkpoint: str, device: str) -> object:
        from mmdet.apis import DetInferencer

        return DetInferencer(cfg, checkpoint, device)

    @staticmethod
    def _build_mmseg(cfg: Config, checkpoint: str, device: str) -> object:
        from mmseg.apis import MMSegInferencer

        return MMSegInferencer(cfg, checkpoint, device=device)

    @staticmethod
    def _build_mmpretrain(cfg: Config, checkpoint: str, device: str) -> object:
        from mmpretrain import ImageClassificationInferencer
        from mmpretrain.visualization import UniversalVisualizer

        inferencer = ImageClassificationInferencer(cfg, checkpoint, device)
        inferencer.visualizer = UniversalVisualizer()
        return inferencer

    def predict(self, path: str) -> BaseDataElement:
        """Predict one image file."""
        if self.scope == 'mmdet':
            result = self.inferencer(
                path, return_datasamples=True, no_save_vis=True
            )
            return result['predictions'][0]
        if self.scope == 'mmseg':
            return self.inferencer(path, return_datasamples=True)
        (data,) = self.inferencer.preprocess([path], 1)
        return self.inferencer.forward(data)[0]

    def draw(self, path: str, sample: BaseDataElement, out_file: str) -> None:
        """Draw a prediction on its image."""
        image = mmcv.imread(path, channel_order='rgb')
        visualizer = self.inferencer.visualizer
        if self.scope == 'mmpretrain':
            visualizer.visualize_cls(
                image,
                sample,
                classes=self.classes,
                rescale_factor=max(1.0, 224 / max(image.shape[:2])),
                draw_gt=False,
                out_file=out_file,
            )
            return
        threshold = {}
        if self.scope == 'mmdet':
            threshold['pred_score_thr'] = self.score_thr
        visualizer.add_datasample(
            osp.basename(path),
            image,
            sample,
            draw_gt=False,
            out_file=out_file,
            **threshold,
        )

    def describe(self, sample: BaseDataElement) -> dict:
        """A prediction as what JSON can hold (not for segmentation)."""
        if self.scope == 'mmdet':
            return self.inferencer.pred2dict(sample)
        label = int(sample.pred_label)
        return dict(
            label=label,
            name=self.classes[label] if self.classes else None,
            score=float(sample.pred_score.max()),
        )


def main() -> None:
    """Infer."""
    args = parse_args()
    root, names = list_images(args.input)
    cfg = load_config(args.config, args.cfg_options)
    if not osp.isfile(args.checkpoint) and '://' not in args.checkpoint:
        raise UserError(f'The checkpoint {args.checkpoint} does not exist.')
    register_safe_loader()
    cfg.visualizer.vis_backends = []
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    predictor = Predictor(cfg, args.checkpoint, device, args.score_thr)

    predictions, unreadable = {}, []
    for name in tqdm(names, desc='infer', unit='image'):
        path = osp.join(root, name)
        stem = osp.splitext(name)[0]
        if _is_unreadable(path):
            unreadable.append(path)
            continue
        sample = predictor.predict(path)
        predictor.draw(
            path, sample, osp.join(args.out_dir, 'vis', f'{stem}.png')
        )
        if predictor.scope == 'mmseg':
            out_file = osp.join(args.out_dir, 'label_maps', f'{stem}.png')
            os.makedirs(osp.dirname(out_file), exist_ok=True)
            labels = sample.pred_sem_seg.data[0].cpu().numpy()
            Image.fromarray(labels.astype('uint8')).save(out_file)
        else:
            predictions[name] = predictor.describe(sample)
    if predictions:
        with open(osp.join(args.out_dir, 'predictions.json'), 'w') as file:
            json.dump(predictions, file)
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
