"""Samples of a project, read and painted by the library that trains on it."""

from __future__ import annotations

import copy
import io
import random
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, VISUALIZERS, init_default_scope

from mmvheat.commands.config import load_config

_CELL = 400  # pixels a side that images are painted at: names can be read
_COLUMNS = 3
_COUNT = 6  # of each split


def paint_samples(config: Path, folder: Path, seed: int) -> list[str]:
    """Paint samples of train and val as the written config reads them.

    Returns:
        list[str]: Names of the pictures, which go into ``folder``.
    """
    cfg = load_config(str(config))
    init_default_scope(cfg.default_scope)
    # One window is shared by all visualizers of matplotlib otherwise.
    settings = dict(cfg.visualizer, vis_backends=None, name='samples')
    if cfg.default_scope == 'mmseg':
        settings['alpha'] = 0.5
    visualizer = VISUALIZERS.build(settings)
    names = []
    for split in ('train', 'val'):
        dataset = _build(cfg, split)
        visualizer.dataset_meta = dataset.metainfo
        chosen = list(range(len(dataset)))
        random.Random(seed).shuffle(chosen)
        pictures = [
            _paint(cfg, visualizer, dataset, index)
            for index in sorted(chosen[:_COUNT])
        ]
        if pictures:
            names.append(f'samples_{split}.jpg')
            sheet = make_sheet(pictures)
            cv2.imwrite(str(folder / names[-1]), sheet[..., ::-1])
    return names


def _build(cfg: Config, split: str) -> object:
    """The data set of a split, without augmentation."""
    settings = copy.deepcopy(cfg[f'{split}_dataloader'].dataset)
    load = dict(type='LoadImageFromFile')
    resize = dict(type='Resize', scale=(_CELL, _CELL), keep_ratio=True)
    settings.pipeline = dict(
        mmdet=[
            load,
            dict(
                type='LoadAnnotations',
                with_bbox=True,
                with_mask='segm' in cfg.val_evaluator.get('metric', []),
            ),
            resize,
            dict(type='PackDetInputs'),
        ],
        mmseg=[
            load,
            dict(type='LoadAnnotations'),
            resize,
            dict(type='PackSegInputs'),
        ],
        mmpretrain=[load, dict(type='PackInputs')],
    )[cfg.default_scope]
    if 'filter_cfg' in settings:
        settings.filter_cfg = None
    with redirect_stdout(io.StringIO()):  # pycocotools talks
        return DATASETS.build(settings)


def _paint(
    cfg: Config, visualizer: object, dataset: object, index: int
) -> np.ndarray:
    """One sample with its labels, RGB."""
    item = dataset[index]
    image = item['inputs'].permute(1, 2, 0).numpy()[..., ::-1]
    image = np.ascontiguousarray(image)
    factor = max(1.0, _CELL / max(image.shape[:2]))
    sample = item['data_samples']
    if cfg.default_scope == 'mmpretrain':
        return visualizer.visualize_cls(
            image,
            sample,
            classes=dataset.metainfo['classes'],
            rescale_factor=factor,
            draw_pred=False,
        )
    if cfg.default_scope == 'mmdet':
        instances = sample.gt_instances
        boxes = instances.bboxes
        instances.bboxes = getattr(boxes, 'tensor', boxes)
        sample = sample.numpy()
        masks = sample.gt_instances.get('masks')
        if masks is not None:
            sample.gt_instances.masks = masks.to_ndarray().astype(bool)
    visualizer.add_datasample(
        'sample', image, sample, draw_pred=False, show=False
    )
    return visualizer.get_image()


def make_sheet(pictures: list[np.ndarray]) -> np.ndarray:
    """Set RGB pictures side by side, each scaled into a square cell."""
    gap, white, rows = 8, (255,) * 3, []
    for start in range(0, len(pictures), _COLUMNS):
        cells = list(map(_fit_cell, pictures[start : start + _COLUMNS]))
        shape = (max(map(len, cells)) + gap, _CELL + gap)
        cells = [mmcv.impad(c, shape=shape, pad_val=white) for c in cells]
        row = np.hstack(cells)
        shape = (len(row), (rows or [row])[0].shape[1])  # the last is short
        rows.append(mmcv.impad(row, shape=shape, pad_val=white))
    return mmcv.impad(np.vstack(rows), padding=(gap, gap, 0, 0), pad_val=white)


def _fit_cell(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    factor = _CELL / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = 'area' if factor < 1 else 'bicubic'
    return mmcv.imresize(picture, size, interpolation=how)
