"""A csv of paths: image and class, image and label map, or boxes."""

from __future__ import annotations

import csv
import math
import os.path as osp
from collections.abc import Iterator

from mmvheat.errors import UserError

from ..folder import IMAGES, Folder, split_of
from ..records import DataSet, Place, Sample, Thing
from . import label_maps
from .common import report_unlabelled

_COLUMNS = dict(
    image=('image', 'path', 'file', 'filename', 'file_name', 'image_path')
    + ('img', 'img_path', 'filepath', 'imageid', 'image_id', 'id'),
    label=('label', 'class', 'category', 'target', 'class_name', 'name')
    + ('labelname',),
    map=('mask', 'label_map', 'segmentation', 'mask_path', 'annotation')
    + ('seg_map', 'label_path'),
    split=('split', 'subset', 'set', 'fold', 'partition'),
    left=('xmin', 'x_min', 'x1', 'left'),
    top=('ymin', 'y_min', 'y1', 'top'),
    right=('xmax', 'x_max', 'x2', 'right'),
    bottom=('ymax', 'y_max', 'y2', 'bottom'),
)
_CORNERS = ('left', 'top', 'right', 'bottom')


def find(folder: Folder) -> str:
    """Say which csv has a column of images."""
    names = [
        n for n in folder.with_suffix('.csv', '.tsv') if _is_ours(folder, n)
    ]
    return f'csv of paths ({", ".join(names[:3])})' if names else ''


def read(folder: Folder) -> DataSet:
    """Read every csv that has a column of images and one of labels."""
    rows, refused = [], {}
    for name in folder.with_suffix('.csv', '.tsv'):
        if _is_ours(folder, name):
            try:
                rows += _read_rows(folder, name)
            except UserError as error:
                refused[name] = error
    for name, error in refused.items():
        if not rows:
            raise error
        folder.report('table that says too little', name, str(error), 'unused')
    kinds = {kind for kind, *_ in rows}
    if len(kinds) != 1:
        raise UserError(
            f'The csv files of {folder.root} hold {len(rows)} usable rows of '
            f'{len(kinds)} kinds, expected are rows of one kind: a class, a '
            'label map, or a class and a box for each image.'
            + folder.findings.main_reason()
        )
    samples = _join_rows(folder, rows)
    if 'map' in kinds:
        return label_maps.make_data_set(folder, samples, 'csv')
    listed = {sample.path for sample in samples}
    report_unlabelled(folder, listed, 'no row names it')
    things = [thing for sample in samples for thing in sample.things]
    names = {t.name for t in things} or {s.label for s in samples} - {''}
    names = sorted(names)
    if all(map(str.isdecimal, names)):
        names.sort(key=int)
    task = 'detection' if 'boxes' in kinds else 'classification'
    data = folder.data_set('csv of paths', task, names, samples)
    # In pixels, such boxes would all be smaller than one.
    corners = [(t.box[0] + t.box[2], t.box[1] + t.box[3]) for t in things]
    data.in_shares = all(max(pair) < 1.01 for pair in corners)
    return data


def _join_rows(folder: Folder, rows: list[tuple[str, Sample]]) -> list[Sample]:
    """One sample an image; boxes of several rows are joined."""
    samples = {}
    for kind, sample in rows:
        first = samples.setdefault(sample.path, sample)
        if first is sample:
            continue
        if kind == 'boxes':
            first.things += sample.things
            continue
        same = first.label == sample.label
        folder.report(
            'image listed twice',
            sample.place,
            f'{sample.path} stands at {first.place} as well'
            + ('' if same else f', as {first.label!r}'),
            'the first counts',
        )
    return list(samples.values())


def _is_ours(folder: Folder, name: str) -> bool:
    try:
        _, row = next(_read_cells(folder, name), (0, []))
    except csv.Error:  # a binary file
        return False
    found = _find_columns(row)
    # Without a header, the first column is an image.
    bare = len(row) > 1 and row[0].lower().strip().endswith(IMAGES)
    return bare or ('image' in found and ('label' in found or 'map' in found))


def _read_cells(folder: Folder, name: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of a table that hold something, with their numbers."""
    csv.field_size_limit(1 << 30)  # masks in a column may be long
    with open(
        folder.full(name), encoding='utf-8-sig', errors='replace', newline=''
    ) as file:
        start = file.readline()
        file.seek(0)
        delimiter = ';' if ';' in start and ',' not in start else ','
        if name.lower().endswith('.tsv'):
            delimiter = '\t'
        reader = csv.reader(file, delimiter=delimiter)
        for row in reader:
            if any(row):
                yield reader.line_num, row


def _find_columns(header: list[str]) -> dict[str, int]:
    words = [word.strip().lower() for word in header]
    found = {}
    for key, names in _COLUMNS.items():
        known = [name for name in names if name in words]
        if known:
            found[key] = words.index(known[0])
    return found


def _choose_columns(path: str, row: list[str]) -> dict[str, int]:
    """What the columns hold, by the first line of a file."""
    columns = _find_columns(row)
    if 'image' in columns:
        corners = [row[columns[key]] for key in _CORNERS if key in columns]
        if 0 < len(corners) < 4:
            raise UserError(
                f'{path} has the columns {", ".join(corners)}, but a box '
                'needs all of xmin, ymin, xmax, ymax; add the others.'
            )
        return columns
    if len(row) == 2:
        is_map = row[1].lower().strip().endswith(IMAGES)
        return {'image': 0, ('map' if is_map else 'label'): 1}
    if len(row) == 6 and all(map(_is_number, row[1:5])):
        return dict(image=0, left=1, top=2, right=3, bottom=4, label=5)
    raise UserError(
        f'{path} has {len(row)} columns without names, expected are an image '
        'and its class or label map, or an image, a box and its class; write '
        'the names of the columns into the first line.'
    )


def _is_number(cell: str) -> bool:
    """Whether a cell is a number, or empty as in an image of no object."""
    try:
        return not cell.strip() or math.isfinite(float(cell))
    except ValueError:
        return False


def _read_rows(folder: Folder, name: str) -> list[tuple[str, Sample]]:
    table = list(_read_cells(folder, name))
    columns = _choose_columns(folder.full(name), table[0][1])
    if 'image' in _find_columns(table[0][1]):
        table = table[1:]
    strange = [n for n, row in table if any('\ufffd' in cell for cell in row)]
    if strange:
        folder.report(
            'text that is no UTF-8',
            Place(name, strange[0]),
            f'{len(strange)} lines hold letters in another encoding',
            'such letters are lost; save the file as UTF-8',
        )
    rows = []
    for line, row in table:
        try:
            rows.append(_read_row(folder, Place(name, line), row, columns))
        except _Unusable as error:
            kind, what = error.args
            folder.report(kind, Place(name, line), what, 'row left out')
    return rows


class _Unusable(Exception):
    """The kind of a finding, and what it is."""


def _read_row(
    folder: Folder, place: Place, row: list[str], columns: dict[str, int]
) -> tuple[str, Sample]:
    if len(row) <= max(columns.values()):
        raise _Unusable(
            'line that is no label',
            f'{len(row)} columns, expected are {max(columns.values()) + 1}',
        )
    cells = {key: row[index].strip() for key, index in columns.items()}
    image = folder.image_for(cells['image'], place.file)
    if image is None:
        raise _Unusable(
            'labels without image',
            f'{cells["image"]!r} is not in the folder, or more than once',
        )
    label, where = cells.get('label', ''), osp.dirname(image)
    if osp.basename(where) == label:  # a class, test_tube say, is no split
        where = osp.dirname(where)
    split = split_of(cells.get('split', '')) or split_of(where)
    split = split or split_of(place.file)
    sample = Sample(image, place, split, label=label)
    if 'map' in cells:
        found = folder.image_for(cells['map'], place.file)
        if found is None:
            raise _Unusable(
                'labels without image',
                f'the label map {cells["map"]!r} is not in the folder',
            )
        sample.label_map = folder.full(found)
        return 'map', sample
    is_box = all(key in columns for key in _CORNERS)
    if is_box and not any([label, *(cells[key] for key in _CORNERS)]):
        return 'boxes', sample  # an image of no object
    if not label:
        raise _Unusable('image without labels', 'the class is empty')
    if not is_box:
        return 'class', sample
    try:
        left, top, right, bottom = (float(cells[key]) for key in _CORNERS)
    except ValueError:
        raise _Unusable(
            'object without box', f'no four numbers: {row}'
        ) from None
    box = (left, top, right - left, bottom - top)
    sample.things = [Thing(sample.label, place, box)]
    return 'boxes', sample
