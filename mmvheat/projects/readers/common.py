"""What several readers do with a folder of labels."""

from __future__ import annotations

import os.path as osp
from collections.abc import Container

from ..folder import Folder
from ..records import Place, Sample, Thing


def add_sample(
    samples: dict[str, Sample], folder: Folder, name: str, asked: str
) -> Sample | None:
    """Add the image that a label file is about.

    Args:
        samples (dict[str, Sample]): Those of the files before, by image.
        folder (Folder): The folder.
        name (str): The label file, by the name of which it is found too.
        asked (str): What the file calls the image, or ''.

    Returns:
        Sample | None: None, with a finding, if there is no such image, or
        another file is about it.
    """
    stem = osp.splitext(osp.basename(name))[0]
    image = folder.image_for(asked, name) if asked else None
    image = image or folder.image_for(stem, name)
    if image is None:
        folder.report(
            'labels without image',
            name,
            f'{asked or stem!r} is not in the folder, or more than once',
        )
        return None
    if image in samples:
        folder.report(
            'image listed twice',
            name,
            f'{samples[image].place} is about {image} as well',
            'the labels of the first count',
        )
        return None
    split = folder.split_for(image, name)
    samples[image] = Sample(image, Place(name), split)
    return samples[image]


def report_unlabelled(
    folder: Folder, labelled: Container[str], why: str
) -> None:
    """Report all images that are not among those with labels."""
    for image in folder.images:
        if image not in labelled:
            folder.report('image without labels', image, why)


def choose_task(folder: Folder, things: list[Thing]) -> str:
    """Masks where every object has one, else boxes."""
    boxes = [thing for thing in things if thing.shape is None]
    if things and not boxes:
        return 'instances'
    if len(boxes) < len(things):
        folder.report(
            'objects without outline',
            boxes[0].place,
            f'{len(boxes)} of {len(things)} objects have a box alone',
            'boxes are learnt; --model mask-rcnn_vheat-t learns masks of '
            'the others',
        )
    return 'detection'
