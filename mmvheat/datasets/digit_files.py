"""The files of one split of the digit scenes."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image
from tqdm import tqdm

from .digit_painting import find_box, paint_scene

SCENE_SIDES = (28, 80)
CROP_SIZE, CROP_SIDES = 64, (44, 52)
VAL_SHARE = 0.2
PHOTO_CUT = 192
"""Photo columns left of it are for val, the 448 right of it for train."""

Z_RLE = 3
"""zlib's run-length strategy; every build of zlib writes the same with it."""


@dataclass(frozen=True)
class Split:
    """One half of the data set and what it may paint with."""

    name: str  # 'train' or 'val'
    number: int  # 0 or 1
    seed: int  # of the data set
    digits: np.ndarray  # (1797, 8, 8) uint8, the whole list of digits
    labels: np.ndarray  # (1797,) int, what they show
    indices: np.ndarray  # the digits of this split, sorted
    photos: list[np.ndarray]  # its parts of the photos, RGB uint8

    def generator(self, *key: int) -> np.random.Generator:
        """Return the generator of one picture.

        Every picture has its own, so that the first scenes of a large set
        are those of a small one.
        """
        return np.random.default_rng([self.seed, self.number, *key])


def load_splits(seed: int) -> list[Split]:
    """Share the digits out class by class and cut the photos in two."""
    sources = _import('sklearn.datasets', 'scikit-learn')
    digits, labels = sources.load_digits(return_X_y=True)
    digits = (digits.reshape(-1, 8, 8) * 255 / 16).round().astype(np.uint8)
    photos = sources.load_sample_images().images
    rng = np.random.default_rng(seed)
    shares = ([], [])
    for digit in range(10):
        order = rng.permutation(np.flatnonzero(labels == digit))
        cut = round(len(order) * VAL_SHARE)
        shares[0].extend(order[cut:])
        shares[1].extend(order[:cut])
    cuts = (np.s_[:, PHOTO_CUT:], np.s_[:, :PHOTO_CUT])
    return [
        Split(
            name=name,
            number=number,
            seed=seed,
            digits=digits,
            labels=labels,
            indices=np.sort(shares[number]),
            photos=[photo[cuts[number]] for photo in photos],
        )
        for number, name in enumerate(('train', 'val'))
    ]


def write_scenes(
    folder: Path, split: Split, num_scenes: int, size: int, bar: tqdm
) -> int:
    """Write scenes, label maps and the COCO file; return the instances."""
    coco = _import('pycocotools.mask', 'pycocotools')
    image_dir = _make_folder(folder / split.name)
    map_dir = _make_folder(folder / 'label_maps' / split.name)
    images, annotations = [], []
    for number in range(num_scenes):
        rng = split.generator(0, number)
        indices = rng.choice(split.indices, rng.integers(2, 6), replace=False)
        picture, painted = paint_scene(
            rng, split.photos, split.digits, indices, size, SCENE_SIDES
        )
        label_map = np.zeros((size, size), np.uint8)
        for index, mask in painted:
            category = int(split.labels[index]) + 1
            label_map[mask] = category
            y, x, h, w = find_box(mask)
            rle = coco.encode(np.asfortranarray(mask, np.uint8))
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=category,
                    bbox=[x, y, w, h],
                    area=int(mask.sum()),
                    iscrowd=0,
                    segmentation=dict(
                        size=[size, size], counts=rle['counts'].decode()
                    ),
                    digit_index=index,
                )
            )
        name = f'{number:06d}'
        _write_jpeg(image_dir / f'{name}.jpg', picture)
        Image.fromarray(label_map).save(
            map_dir / f'{name}.png', compress_type=Z_RLE
        )
        images.append(
            dict(id=number, file_name=f'{name}.jpg', height=size, width=size)
        )
        bar.update()
    content = dict(
        info=dict(description=f'Digit scenes, {split.name}'),
        images=images,
        annotations=annotations,
        categories=[dict(id=d + 1, name=str(d)) for d in range(10)],
    )
    _make_folder(folder / 'annotations').joinpath(
        f'instances_{split.name}.json'
    ).write_text(json.dumps(content, sort_keys=True) + '\n')
    return len(annotations)


def write_crops(folder: Path, split: Split, variants: int, bar: tqdm) -> int:
    """Write one crop per digit and variant; return how many."""
    root = folder / 'classification' / split.name
    for digit in range(10):
        _make_folder(root / str(digit))
    for index in split.indices:
        for variant in range(variants):
            picture, _ = paint_scene(
                split.generator(1, index, variant),
                split.photos,
                split.digits,
                [index],
                CROP_SIZE,
                CROP_SIDES,
            )
            name = f'{index:04d}_{variant}.jpg'
            _write_jpeg(root / str(split.labels[index]) / name, picture)
            bar.update()
    return len(split.indices) * variants


def _write_jpeg(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(path, quality=95, subsampling=0)


def _make_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _import(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'Making the digit scenes needs {package}, which does not import '
            f'({error}). Run: pip install {package}'
        ) from error
