"""A csv of paths: image and class, image and label map, or boxes."""

from __future__ import annotations

import csv

from mmvheat.errors import UserError

from ..folder import IMAGES, Folder, split_of
from ..records import DataSet, Findings, Place, Sample, Thing
from . import label_maps

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


def read(folder: Folder, findings: Findings) -> DataSet:
    """Read every csv that has a column of images and one of labels."""
    rows = []
    for name in folder.with_suffix('.csv', '.tsv'):
        if _is_ours(folder, name):
            rows += _read_rows(folder, name, findings)
    kinds = {kind for kind, *_ in rows}
    if len(kinds) != 1:
        raise UserError(
            f'The csv files of {folder.root} hold {len(rows)} usable rows of '
            f'{len(kinds)} kinds, expected are rows of one kind: a class, a '
            'label map, or a class and a box for each image.'
        )
    samples = {}
    for kind, sample in rows:
        first = samples.setdefault(sample.path, sample)
        if first is sample:
            continue
        if kind == 'boxes':
            first.things += sample.things
            continue
        same = first.label == sample.label
        findings.add(
            'image listed twice',
            sample.place,
            f'{sample.path} stands at {first.place} as well'
            + ('' if same else f', as {first.label!r}'),
            'the first counts',
        )
    for image in folder.images:
        if image not in samples and not kinds & {'map'}:
            findings.add(
                'image without labels', image, 'no row names it', 'left out'
            )
    samples = list(samples.values())
    if 'map' in kinds:
        return label_maps.make_data_set(folder, samples, findings, 'csv')
    things = {t.name for s in samples for t in s.things}
    labels = {s.label for s in samples} - {''}
    return DataSet(
        folder.root,
        'csv of paths',
        'detection' if 'boxes' in kinds else 'classification',
        sorted(things or labels),
        samples,
        findings,
    )


def _is_ours(folder: Folder, name: str) -> bool:
    with open(
        folder.full(name), encoding='utf-8-sig', errors='replace', newline=''
    ) as file:
        try:
            row = next(csv.reader(file, delimiter=_delimiter(name)), [])
        except csv.Error:  # a binary file
            return False
    found = _find_columns(row)
    # Without a header, the first column is an image.
    bare = len(row) > 1 and row[0].lower().strip().endswith(IMAGES)
    return bare or ('image' in found and ('label' in found or 'map' in found))


def _delimiter(name: str) -> str:
    return '\t' if name.lower().endswith('.tsv') else ','


def _find_columns(header: list[str]) -> dict[str, int]:
    words = [word.strip().lower() for word in header]
    found = {}
    for key, names in _COLUMNS.items():
        known = [name for name in names if name in words]
        if known:
            found[key] = words.index(known[0])
    return found


def _read_rows(
    folder: Folder, name: str, findings: Findings
) -> list[tuple[str, Sample]]:
    with open(
        folder.full(name), encoding='utf-8-sig', errors='replace', newline=''
    ) as file:
        reader = csv.reader(file, delimiter=_delimiter(name))
        table = [(reader.line_num, row) for row in reader if any(row)]
    columns = _find_columns(table[0][1])
    if 'image' in columns:
        table = table[1:]
    else:
        is_map = table[0][1][1].lower().strip().endswith(IMAGES)
        columns = {'image': 0, ('map' if is_map else 'label'): 1}
    rows = []
    for line, row in table:
        try:
            rows.append(_read_row(folder, Place(name, line), row, columns))
        except _Unusable as error:
            kind, what = error.args
            findings.add(kind, Place(name, line), what, 'row left out')
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
    split = split_of(f'{cells.get("split", "").lower()}/x', files=False)
    split = split or split_of(image, files=False) or split_of(place.file)
    sample = Sample(image, place, split, label=cells.get('label', ''))
    if 'map' in cells:
        found = folder.image_for(cells['map'], place.file)
        if found is None:
            raise _Unusable(
                'labels without image',
                f'the label map {cells["map"]!r} is not in the folder',
            )
        sample.label_map = folder.full(found)
        return 'map', sample
    if not sample.label:
        raise _Unusable('image without labels', 'the class is empty')
    if not all(key in columns for key in _CORNERS):
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
