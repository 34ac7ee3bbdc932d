"""A folder of images beside a folder of label maps, as ADE20K has them."""

from __future__ import annotations

import os.path as osp
import re

from mmvheat.errors import UserError

from ..folder import Folder
from ..label_values import LabelMaps
from ..map_names import read_names
from ..records import DataSet, Place, Sample

_WORD = r'annotations?|annots?|anns?|labels?|label_?maps?|masks?|seg_?maps?'
_WORD += r'|segmentation(?:s|class|_masks?)?|ground_?truth|gt(?:fine|coarse)?'
_LABEL = re.compile(
    rf'(?:(?:^|[_-])(?:{_WORD})|annot)(?:_dir)?$', re.IGNORECASE
)
_IMAGE = re.compile(
    r'(?:^|[_-])(?:images?|imgs?|jpegimages|photos?|leftimg8bit)(?:_dir)?$',
    re.IGNORECASE,
)
_ENDING = re.compile(  # of Cityscapes, which has two: _gtFine_labelIds
    r'(?:[_-](?:labelids|labeltrainids|label|labels|mask|gt|seg|l|gtfine'
    r'|gtcoarse|leftimg8bit))+$',
    re.IGNORECASE,
)
_LOSSLESS = ('.png', '.bmp', '.tif', '.tiff')


def find(folder: Folder) -> str:
    """Say how many images have a label map."""
    pairs, *_ = _pair(folder)
    return f'label maps ({len(pairs)} pairs)' if pairs else ''


def read(folder: Folder) -> DataSet:
    """Read pairs of an image and a label map."""
    pairs, images, maps, others = _pair(folder)
    for image in images:
        folder.report('image without labels', image, 'it has no label map')
    for path in maps:
        lossy = not path.lower().endswith(_LOSSLESS)
        folder.report(
            'broken label file' if lossy else 'labels without image',
            path,
            'a JPEG blurs the numbers' if lossy else 'no image has its name',
        )
    for path, first in others:
        folder.report(
            'image listed twice',
            path,
            f'{first} is a label map of the same image',
            'the first counts',
        )
    samples = [
        Sample(
            image,
            Place(path),
            folder.split_for(image, path),
            label_map=folder.full(path),
        )
        for image, path in pairs.items()
    ]
    return make_data_set(folder, samples, 'label maps')


def make_data_set(folder: Folder, samples: list[Sample], name: str) -> DataSet:
    """Find the classes of label maps, and leave out maps that are broken."""
    maps = LabelMaps(read_names(folder), folder.findings)
    samples = maps.scan(samples)
    if not samples:
        raise UserError(
            f'No label map in {folder.root} can be read: '
            f'{folder.findings[-1].place}: {folder.findings[-1].what}.'
        )
    data = folder.data_set(name, 'segmentation', maps.classes, samples)
    data.palette, data.maps = maps.palette, maps
    return data


def _pair(folder: Folder) -> tuple[dict[str, str], list, list, list]:
    """Pairs, images without a map, maps without an image, and second maps."""
    photos, maps, lossy, others = {}, {}, [], []
    for path in folder.images:
        *parents, name = path.split('/')
        stem = _ENDING.sub('', osp.splitext(name)[0])
        is_map = any(_LABEL.search(part) for part in parents)
        key = '/'.join([p for p in map(_strip, parents) if p] + [stem])
        if not is_map:
            photos[key] = path
        elif not path.lower().endswith(_LOSSLESS):
            lossy.append(path)
        elif maps.setdefault(key, path) != path:
            others.append((path, maps[key]))
    if not maps:
        return {}, [], [], []
    pairs = {photos[k]: maps[k] for k in sorted(photos) if k in maps}
    left = [path for key, path in photos.items() if key not in maps]
    lost = [path for key, path in maps.items() if key not in photos]
    return pairs, left, lost + lossy, others


def _strip(part: str) -> str:
    """A folder's name without what says 'images' or 'label maps'."""
    return _IMAGE.sub('', _LABEL.sub('', part))
