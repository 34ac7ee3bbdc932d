"""Truth and predictions side by side, drawn by mmdet and mmseg."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.structures import InstanceData, PixelData
from pycocotools import mask as coco_mask

SCALE = 2
"""Pictures are enlarged, so that the names of classes on them are legible."""


def draw_scenes(
    numbers: Sequence[int],
    data: Path,
    predictions: Path,
    label_maps: Path,
    meta: dict,
    out: Path,
) -> None:
    """Draw what is true and what was predicted on scenes of val, a row each.

    Args:
        numbers (Sequence[int]): The scenes.
        data (Path): The folder of the digit scenes.
        predictions (Path): Predicted masks, a file of COCO's results.
        label_maps (Path): The folder of predicted label maps.
        meta (dict): ``classes`` and ``palette``, the background first.
        out (Path): The picture to write.
    """
    from mmdet.structures import DetDataSample
    from mmdet.visualization import DetLocalVisualizer
    from mmseg.structures import SegDataSample
    from mmseg.visualization import SegLocalVisualizer

    classes, palette = meta['classes'], meta['palette']
    detector = DetLocalVisualizer(line_width=2, alpha=0.6)
    detector.dataset_meta = dict(
        classes=classes[1:], palette=list(map(tuple, palette[1:]))
    )
    segmentor = SegLocalVisualizer(alpha=0.6)
    segmentor.set_dataset_meta(classes, palette)
    truth = json.loads((data / 'annotations/instances_val.json').read_text())
    found = json.loads(predictions.read_text())
    figure = Figure(figsize=(16, 4.1 * len(numbers)), layout='constrained')
    axes = figure.subplots(len(numbers), 4, squeeze=False)
    for kind, title, items, folder, columns in (
        ('gt', 'truth', truth['annotations'], data / 'label_maps/val', (0, 2)),
        ('pred', 'prediction', found, label_maps, (1, 3)),
    ):
        for number, row in zip(numbers, axes[:, columns]):
            name = f'{number:06d}'
            image = mmcv.imread(data / f'val/{name}.jpg', channel_order='rgb')
            image = mmcv.imrescale(
                image, float(SCALE), interpolation='bicubic'
            )
            instances = pack_instances(items, number, image)
            labels = read_label_map(folder / f'{name}.png')
            for axis, network, visualizer, sample in zip(
                row,
                ('Mask R-CNN', 'UperNet'),
                (detector, segmentor),
                (
                    DetDataSample(**{f'{kind}_instances': instances}),
                    SegDataSample(**{f'{kind}_sem_seg': labels}),
                ),
            ):
                visualizer.add_datasample(
                    '',
                    image,
                    sample,
                    draw_gt=kind == 'gt',
                    draw_pred=kind == 'pred',
                )
                axis.imshow(visualizer.get_image())
                axis.set_title(f'{network}: {title}')
                axis.axis('off')
    figure.savefig(out, dpi=100)


def pack_instances(
    items: list[dict], number: int, image: np.ndarray
) -> InstanceData:
    """Pack the instances of a scene, in the format of COCO, for mmdet.

    Args:
        items (list[dict]): Instances of all scenes; those that were
            predicted have a ``score``.
        number (int): The scene.
        image (np.ndarray): It, enlarged, (H, W, 3).

    Returns:
        InstanceData: As large as the image.
    """
    items = [item for item in items if item['image_id'] == number]
    boxes = torch.tensor([item['bbox'] for item in items]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = [enlarge(coco_mask.decode(i['segmentation'])) for i in items]
    instances = InstanceData(
        bboxes=boxes * SCALE,
        labels=torch.tensor([item['category_id'] - 1 for item in items]),
        masks=torch.tensor(np.array(masks)).reshape(-1, *image.shape[:2]),
    )
    if all('score' in item for item in items):  # what is true has none
        instances.scores = torch.tensor([item['score'] for item in items])
    return instances


def read_label_map(path: Path) -> PixelData:
    """Read a label map, the background (0) unmarked, for mmseg."""
    labels = enlarge(mmcv.imread(path, flag='unchanged'))
    return PixelData(data=torch.tensor(np.where(labels, labels, 255)[None]))


def enlarge(labels: np.ndarray) -> np.ndarray:
    """Repeat the pixels of a label map or mask (H, W)."""
    return labels.repeat(SCALE, 0).repeat(SCALE, 1)
