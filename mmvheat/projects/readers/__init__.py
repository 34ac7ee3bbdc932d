"""Readers of formats: a folder in, a :class:`DataSet` out.

A reader is a module with two functions. ``find(folder)`` gives a sentence
that says what it found, or ''. ``read(folder)`` reads it. Readers are asked
in this order, those with richer labels first.
"""

from __future__ import annotations

import os.path as osp

from mmvheat.errors import UserError

from ..folder import Folder
from ..records import DataSet
from . import coco, label_maps, labelme, named_folders, table, voc, yolo

READERS = {
    'coco': coco,
    'labelme': labelme,
    'voc': voc,
    'yolo': yolo,
    'csv': table,
    'label-maps': label_maps,
    'folders': named_folders,
}


def read_data(path: str, name: str | None = None) -> tuple[DataSet, str]:
    """Read a data set in whatever format it is.

    Args:
        path (str): A folder, or a file of COCO, YOLO or CSV in it.
        name (str, optional): A key of :data:`READERS`. By default the first
            that finds something.

    Returns:
        tuple[DataSet, str]: The data, and a sentence about what was found.

    Raises:
        UserError: Nothing that a reader knows.
    """
    if osp.isfile(path):
        name = name or _reader_of_file(path)
        folder = Folder(root_of_file(path))
        chosen = osp.relpath(osp.abspath(path), folder.root)
        # The labels are this file alone; images may be anywhere below.
        labels = ('.json', '.csv', '.tsv', '.yaml', '.yml')
        folder.files = [
            file
            for file in folder.files
            if file == chosen or not file.lower().endswith(labels)
        ]
    else:
        folder = Folder(path)
    found = {}
    for key, reader in READERS.items():
        sentence = reader.find(folder)
        if sentence:
            found[key] = sentence
    name = name or next(iter(found), None)
    if name not in found:
        raise UserError(_say_nothing_found(folder, name))
    sentence = found[name]
    others = [key for key in found if key != name and key != 'folders']
    if others:
        sentence += (
            f' ({found[others[0]]} as well: --format {others[0]} reads those)'
        )
    return READERS[name].read(folder), sentence


def _reader_of_file(path: str) -> str:
    known = {'.json': 'coco', '.csv': 'csv', '.tsv': 'csv'}
    known.update({'.yaml': 'yolo', '.yml': 'yolo'})
    suffix = osp.splitext(path)[1].lower()
    if suffix not in known:
        raise UserError(
            f'{path} is no folder and none of {", ".join(known)}; give the '
            'folder of your data.'
        )
    return known[suffix]


def root_of_file(path: str) -> str:
    """The folder of a label file, or that above where it holds no image."""
    folder = osp.dirname(osp.abspath(path))
    labels = ('annotations', 'labels', 'annotation')
    is_labels = osp.basename(folder).lower() in labels
    return osp.dirname(folder) if is_labels else folder


def _say_nothing_found(folder: Folder, name: str | None) -> str:
    wanted = f'no {name} data' if name else 'no labels that it knows'
    return (
        f'The folder {folder.root} holds {len(folder.images)} images and '
        f'{wanted}; expected are COCO json, LabelMe json, Pascal VOC xml, '
        'YOLO txt, a csv of paths, a folder of label maps beside one of '
        'images, or one folder of images a class.'
    )
