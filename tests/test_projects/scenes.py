"""Small data sets of real handwritten digits, in every format."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from mmvheat.datasets.digit_painting import upscale_digit

SIZE = (96, 64)  # width, height
NAMES = ('zero', 'one', 'two')
COLOURS = ((0, 0, 0), (200, 30, 30), (30, 200, 30), (30, 30, 200))


@dataclass
class Object:
    """A digit: its class, mask (H, W) and corners of its outline."""

    number: int
    mask: np.ndarray
    polygon: list[float]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width, height of the polygon."""
        xs, ys = self.polygon[::2], self.polygon[1::2]
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


@dataclass
class Scene:
    """A picture (H, W, 3) of two digits."""

    picture: np.ndarray
    objects: list[Object]

    @property
    def label_map(self) -> np.ndarray:
        """0 for background, class + 1 for a digit."""
        labels = np.zeros(self.picture.shape[:2], np.uint8)
        for item in self.objects:
            labels[item.mask] = item.number + 1
        return labels


@cache
def make_scenes(count: int, classes: int = 3, seed: int = 0) -> list[Scene]:
    """Scenes whose digits name the classes; past ten, colour does too."""
    digits, targets = load_digits(return_X_y=True)
    digits = (digits.reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    rng = np.random.default_rng(seed)
    scenes = []
    for index in range(count):
        picture = rng.integers(0, 90, (SIZE[1], SIZE[0], 3), np.uint8)
        objects = []
        for left in (2, 50):
            number = (2 * index + (left > 2)) % classes
            wanted = rng.choice(np.flatnonzero(targets == number % 10))
            alpha = upscale_digit(digits[wanted], 40)[:56, :42]
            top = int(rng.integers(2, SIZE[1] - alpha.shape[0] - 2))
            mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
            h, w = alpha.shape
            mask[top : top + h, left : left + w] = alpha > 127
            mask = _largest_part(mask)
            tint = 120 + 60 * (number // 10 % 3)
            picture[mask > 0] = (255, tint, 255 - tint // 2)
            objects.append(Object(number, mask > 0, _outline(mask)))
        scenes.append(Scene(picture, objects))
    return scenes


def _largest_part(mask: np.ndarray) -> np.ndarray:
    outlines, _ = cv2.findContours(
        mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    part = np.zeros_like(mask)
    return cv2.drawContours(part, [max(outlines, key=len)], -1, 1, -1)


def _outline(mask: np.ndarray) -> list[float]:
    outlines, _ = cv2.findContours(
        mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return outlines[0].ravel().astype(float).tolist()


def save(picture: np.ndarray, path: Path) -> None:
    """Write a picture, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def write_coco(
    root: Path, scenes: list[Scene], names=NAMES, masks: bool = True
) -> Path:
    """``annotations/instances.json`` and ``images/``."""
    images, annotations = [], []
    for index, scene in enumerate(scenes):
        save(scene.picture, root / f'images/{index:04d}.jpg')
        images.append(
            dict(
                id=index,
                file_name=f'{index:04d}.jpg',
                width=SIZE[0],
                height=SIZE[1],
            )
        )
        for item in scene.objects:
            entry = dict(
                id=len(annotations) + 1,
                image_id=index,
                category_id=item.number + 1,
                bbox=list(item.box),
                area=float(item.mask.sum()),
                iscrowd=0,
            )
            if masks:
                entry['segmentation'] = [item.polygon]
            annotations.append(entry)
    categories = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
    content = dict(
        images=images, annotations=annotations, categories=categories
    )
    (root / 'annotations').mkdir()
    path = root / 'annotations/instances.json'
    path.write_text(json.dumps(content, indent=1))
    return path


def write_yolo(
    root: Path, scenes: list[Scene], names=NAMES, masks: bool = False
) -> None:
    """``images/``, ``labels/`` and ``data.yaml``."""
    (root / 'labels').mkdir(parents=True)
    for index, scene in enumerate(scenes):
        save(scene.picture, root / f'images/{index:04d}.jpg')
        lines = []
        for item in scene.objects:
            x, y, w, h = item.box
            numbers = [x + w / 2, y + h / 2, w, h]
            if masks:
                numbers = item.polygon
            shares = [v / SIZE[i % 2] for i, v in enumerate(numbers)]
            lines.append(f'{item.number} ' + ' '.join(map(str, shares)))
        (root / f'labels/{index:04d}.txt').write_text('\n'.join(lines))
    content = dict(names=dict(enumerate(names)), nc=len(names))
    (root / 'data.yaml').write_text(yaml.safe_dump(content))


def write_voc(root: Path, scenes: list[Scene], names=NAMES) -> None:
    """``JPEGImages/``, ``Annotations/`` and ``ImageSets/Main/``."""
    (root / 'Annotations').mkdir(parents=True)
    (root / 'ImageSets/Main').mkdir(parents=True)
    stems = []
    for index, scene in enumerate(scenes):
        stems.append(f'{index:04d}')
        save(scene.picture, root / f'JPEGImages/{stems[-1]}.jpg')
        objects = ''
        for item in scene.objects:
            x, y, w, h = (int(v) for v in item.box)
            objects += (
                f'<object>\n<name>{names[item.number]}</name>'
                f'<difficult>0</difficult>\n<bndbox><xmin>{x + 1}</xmin>'
                f'<ymin>{y + 1}</ymin><xmax>{x + w + 1}</xmax>'
                f'<ymax>{y + h + 1}</ymax></bndbox></object>\n'
            )
        (root / f'Annotations/{stems[-1]}.xml').write_text(
            f'<annotation>\n<filename>{stems[-1]}.jpg</filename>\n'
            f'<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height>'
            f'<depth>3</depth></size>\n{objects}</annotation>\n'
        )
    cut = len(stems) * 3 // 4
    for name, part in (('train', stems[:cut]), ('val', stems[cut:])):
        text = '\n'.join(part)
        (root / f'ImageSets/Main/{name}.txt').write_text(text)


def write_labelme(root: Path, scenes: list[Scene], names=NAMES) -> None:
    """A json beside each image; polygons, the second one as a mask."""
    for index, scene in enumerate(scenes):
        save(scene.picture, root / f'{index:04d}.jpg')
        shapes = []
        for order, item in enumerate(scene.objects):
            points = np.reshape(item.polygon, (-1, 2)).tolist()
            shape = dict(label=names[item.number], shape_type='polygon')
            shape.update(points=points, group_id=None)
            if order:
                x, y, w, h = (int(v) for v in item.box)
                part = item.mask[y : y + h + 1, x : x + w + 1]
                file = io.BytesIO()
                Image.fromarray(part.astype(np.uint8) * 255).save(file, 'PNG')
                shape.update(
                    shape_type='mask',
                    points=[[x, y], [x + w, y + h]],
                    mask=base64.b64encode(file.getvalue()).decode(),
                )
            shapes.append(shape)
        content = dict(version='5.4', shapes=shapes, imageData=None)
        content.update(imagePath=f'{index:04d}.jpg')
        content.update(imageWidth=SIZE[0], imageHeight=SIZE[1])
        (root / f'{index:04d}.json').write_text(json.dumps(content, indent=1))


def write_label_maps(
    root: Path, scenes: list[Scene], names=NAMES, kind: str = 'L'
) -> None:
    """``images/`` and ``annotations/``, in training and validation.

    ``kind`` is 'L', 'P' (with a palette) or 'RGB' (painted).
    """
    cut = len(scenes) * 3 // 4
    for index, scene in enumerate(scenes):
        split = 'training' if index < cut else 'validation'
        save(scene.picture, root / f'images/{split}/{index:04d}.jpg')
        labels = scene.label_map
        path = root / f'annotations/{split}/{index:04d}.png'
        if kind == 'RGB':
            save(np.array(COLOURS, np.uint8)[labels], path)
            continue
        image = Image.fromarray(labels)
        if kind == 'P':
            image.putpalette(np.ravel(COLOURS).tolist())
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    (root / 'classes.txt').write_text('\n'.join(['background', *names]))


def crop(item: Object, scene: Scene) -> np.ndarray:
    """The half of a picture that shows an object."""
    x = int(item.box[0]) // 48 * 48
    return scene.picture[:, x : x + 48]


def write_folders(root: Path, scenes: list[Scene], names=NAMES) -> None:
    """A folder a class."""
    for index, scene in enumerate(scenes):
        for side, item in enumerate(scene.objects):
            name = f'{names[item.number]}/{index:04d}_{side}.png'
            save(crop(item, scene), root / name)


def write_table(root: Path, scenes: list[Scene], names=NAMES) -> None:
    """``labels.csv``: image, label, split."""
    rows = []
    for index, scene in enumerate(scenes):
        for side, item in enumerate(scene.objects):
            path = f'files/{index:04d}_{side}.png'
            save(crop(item, scene), root / path)
            split = 'train' if index % 4 else 'val'
            rows.append((path, names[item.number], split))
    with open(root / 'labels.csv', 'w', newline='') as file:
        csv.writer(file).writerows([('image', 'label', 'split'), *rows])


WRITERS = {
    'coco': write_coco,
    'yolo': write_yolo,
    'voc': write_voc,
    'labelme': write_labelme,
    'label-maps': write_label_maps,
    'folders': write_folders,
    'csv': write_table,
}
