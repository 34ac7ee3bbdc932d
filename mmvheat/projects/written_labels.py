"""Labels in the forms that mmdet, mmsegmentation and mmpretrain read."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from .records import SPLITS, DataSet, Sample


def write_labels(data: DataSet, folder: Path) -> None:
    """Write the labels of every split that has images into a folder.

    COCO json for boxes and masks, lists of ``path number`` for classes;
    lists of paths and PNG label maps in ``maps/``, 255 for ignored, for
    segmentation.
    """
    for name in SPLITS:
        samples = data.of_split(name)
        if not samples:
            continue
        if data.task in ('detection', 'instances'):
            text = json.dumps(to_coco(data, samples), ensure_ascii=False)
            (folder / f'{name}.json').write_text(text, encoding='utf-8')
            continue
        lines = [sample.path for sample in samples]
        if data.task == 'classification':
            numbers = {name: i for i, name in enumerate(data.classes)}
            lines = [f'{s.path} {numbers[s.label]}' for s in samples]
        text = ''.join(f'{line}\n' for line in lines)
        (folder / f'{name}.txt').write_text(text, encoding='utf-8')
    if data.task == 'segmentation':
        write = partial(_write_map, data, folder / 'maps')
        with ThreadPoolExecutor() as pool:
            list(pool.map(write, data.samples))


def to_coco(data: DataSet, samples: list[Sample]) -> dict:
    """COCO's dict of some samples; ids count from 1 without gaps."""
    numbers = {name: i for i, name in enumerate(data.classes, 1)}
    images, annotations = [], []
    for image_id, sample in enumerate(samples, 1):
        width, height = sample.size
        images.append(
            dict(
                id=image_id, file_name=sample.path, width=width, height=height
            )
        )
        for thing in sample.things:
            entry = dict(
                id=len(annotations) + 1,
                image_id=image_id,
                category_id=numbers[thing.name],
                bbox=thing.box,
                area=thing.area,
                iscrowd=int(thing.crowd),
            )
            if data.task == 'instances':
                entry['segmentation'] = thing.shape
            annotations.append(entry)
    categories = [dict(id=i, name=name) for name, i in numbers.items()]
    return dict(images=images, annotations=annotations, categories=categories)


def _write_map(data: DataSet, folder: Path, sample: Sample) -> None:
    from PIL import Image

    target = folder / f'{sample.path}.png'
    target.parent.mkdir(parents=True, exist_ok=True)
    labels = data.maps.read(sample.label_map, sample.size)
    Image.fromarray(labels).save(target)
