"""COCO json: boxes, polygons and run-length masks."""

from __future__ import annotations

import os.path as osp
import re
from collections import Counter, defaultdict
from collections.abc import Hashable
from typing import Any

from mmvheat.errors import UserError

from ..folder import Folder, shared_end, split_of
from ..records import DataSet, Place, Sample, Thing, unique_names
from .common import choose_task, report_unlabelled
from .json_files import JsonLines, load_lists, read_ends

_MASK = re.compile('mask|label|annotation')


def find(folder: Folder) -> str:
    """Say which files are COCO json."""
    names = _list_files(folder)
    return f'COCO json ({", ".join(names[:3])})' if names else ''


def read(folder: Folder) -> DataSet:
    """Read all COCO files of a folder.

    Raises:
        UserError: None of them can be read.
    """
    names = _choose_files(_list_files(folder))
    loaded = {name: _load(folder, name) for name in names}
    contents = {name: content for name, content in loaded.items() if content}
    if not contents:
        raise UserError(
            f'No COCO file in {folder.root} can be read: '
            f'{folder.findings[-1].place}: {folder.findings[-1].what}.'
        )
    names, samples = [], {}
    for name, content in contents.items():
        listed = _list_classes(folder, name, content)
        names += unique_names(listed, folder.findings)
    for name, content in contents.items():
        for sample in _read_file(folder, name, content):
            key = sample.path
            if key in samples and samples[key].split == sample.split:
                folder.report(
                    'image listed twice',
                    sample.place,
                    f'{key} stands at {samples[key].place} as well',
                    'the labels of both were joined',
                )
                samples[key].things += sample.things
            else:
                samples[key if key not in samples else (key, name)] = sample
    listed = {sample.path for sample in samples.values()}
    masks = {i for i in folder.images if _MASK.search(i.lower())}
    report_unlabelled(folder, listed | masks, 'no usable entry is about it')
    things = [t for s in samples.values() for t in s.things if not t.crowd]
    return folder.data_set(
        'COCO json',
        choose_task(folder, things),
        list(dict.fromkeys(names)),
        list(samples.values()),
    )


def _list_files(folder: Folder) -> list[str]:
    names = folder.with_suffix('.json')
    if len(names) > 64:  # a file an image is no COCO
        names = names[:8] + [n for n in names[8:] if 'coco' in n.lower()]
    return [name for name in names if _is_coco(folder.full(name))]


def _is_coco(path: str) -> bool:
    text = read_ends(path)
    if b'"shapes"' in text or b'"segments_info"' in text:
        return False
    keys = (b'"images"', b'"annotations"', b'"categories"')
    return sum(key in text for key in keys) >= 2


def _choose_files(names: list[str]) -> list[str]:
    """Of several files of a split, those of instances; else all of them."""
    by_split = defaultdict(list)
    for name in names:
        by_split[split_of(name)].append(name)
    chosen = []
    for group in by_split.values():
        instances = [n for n in group if 'instances' in n.lower()]
        chosen += instances or group
    return chosen


def _load(folder: Folder, name: str) -> dict | None:
    keys = ('images', 'annotations', 'categories')
    content = load_lists(folder, name, *keys)
    for key in keys if content else ():
        if not all(isinstance(item, dict) for item in content[key]):
            what = f'{key!r} holds something that is no object'
            folder.report('broken label file', name, what)
            return None
    return content


def _list_classes(
    folder: Folder, name: str, content: dict
) -> list[tuple[str, Place]]:
    """The classes of a file in the order of their ids."""
    lines = JsonLines(folder, name, 'categories')
    ids = {}
    for index, category in enumerate(content['categories']):
        number = _id_of(category, 'id')
        if number in ids:
            folder.report(
                'class id twice',
                lines.place(index),
                f'{category.get("name")!r} has the id {number} of '
                f'{content["categories"][ids[number]].get("name")!r}',
                'the first counts',
            )
            continue
        ids[number] = index
    numbers = sorted(ids, key=lambda number: (str(type(number)), number))
    integers = [n for n in numbers if isinstance(n, int)]
    if integers and integers[-1] - integers[0] >= len(integers):
        folder.report(
            'ids with gaps',
            lines.place(ids[integers[-1]]),
            f'{len(integers)} class ids lie between {integers[0]} and '
            f'{integers[-1]}',
            'numbered anew without gaps, in the same order',
        )
    # Names that differ in spaces around them are the same to a reader.
    for index in ids.values():
        category = content['categories'][index]
        category['name'] = str(category.get('name', index)).strip()
    content['names'] = {
        number: content['categories'][ids[number]]['name']
        for number in numbers
    }
    return [(content['names'][n], lines.place(ids[n])) for n in numbers]


def _read_file(folder: Folder, name: str, content: dict) -> list[Sample]:
    samples = _read_images(folder, name, content)
    lines = JsonLines(folder, name, 'annotations')
    for index, entry in enumerate(content['annotations']):
        number = _id_of(entry, 'image_id')
        if number not in samples:
            folder.report(
                'labels without image',
                lines.place(index),
                f'no image has the id {number!r}',
            )
        if samples.get(number) is None:
            continue
        label = content['names'].get(_id_of(entry, 'category_id'))
        if label is None:
            folder.report(
                'unknown class',
                lines.place(index),
                f'no category has the id {entry.get("category_id")!r}',
                'object left out',
            )
            continue
        thing = _read_thing(entry, label, lines.place(index))
        samples[number].things.append(thing)
    return [sample for sample in samples.values() if sample]


def _read_images(
    folder: Folder, name: str, content: dict
) -> dict[Any, Sample | None]:
    """The images of a file by id, None for one that cannot be used."""
    lines = JsonLines(folder, name, 'images')
    files = [_file_of(image) for image in content['images']]
    samples, asked = {}, defaultdict(set)
    for image, file in zip(content['images'], files):
        asked[_id_of(image, 'id')].add(file)
    for index, path in enumerate(_find_images(folder, name, files)):
        image, file = content['images'][index], files[index]
        number, place = _id_of(image, 'id'), lines.place(index)
        samples.setdefault(number, None)
        if len(asked[number]) > 1:
            folder.report(
                'image id twice',
                place,
                f'{file!r} has the id {number!r}, as others have',
                'left out, for nothing tells whose the labels are',
            )
            continue
        if path is None:
            folder.report(
                'labels without image',
                place,
                f'{file!r} is not in the folder, or more than once',
            )
            continue
        if '/' in file and not _shared_folders(file, path):
            folder.report(
                'image in another folder',
                place,
                f'{file!r} is taken to be {path}',
                'kept; look whether the labels fit',
            )
        split = split_of(name) or split_of(path, files=False)
        samples[number] = Sample(path, Place(name), split)
        samples[number].size = (image.get('width'), image.get('height'))
    return samples


def _file_of(image: dict[str, Any]) -> str:
    """The name of an image's file, with the slashes of this system."""
    name = str(image.get('file_name', '')).replace('\\', '/')
    return name.removeprefix('./')


def _find_images(
    folder: Folder, name: str, files: list[str]
) -> list[str | None]:
    """The image of each name; of names in several folders the nearest's."""
    paths = [folder.image_for(file, name) for file in files]
    shared = list(map(_shared_folders, files, paths))
    most = Counter()
    for path, count in zip(paths, shared):
        most[path] = max(most[path], count)
    return [
        path if count == most[path] else None
        for path, count in zip(paths, shared)
    ]


def _shared_folders(file: str, path: str | None) -> int:
    """How many of the folders around an image are those that a name has."""
    return shared_end(osp.dirname(file), osp.dirname(path or ''))


def _id_of(entry: dict[str, Any], key: str) -> Hashable:
    """An id that can be looked up, whatever it is."""
    value = entry.get(key)
    return value if isinstance(value, Hashable) else repr(value)


def _read_thing(entry: dict[str, Any], label: str, place: Place) -> Thing:
    shape = entry.get('segmentation') or None
    if isinstance(shape, list) and not isinstance(shape[0], list):
        shape = [shape]  # one polygon, without the list around it
    box = entry.get('bbox')
    return Thing(
        label,
        place,
        tuple(box) if isinstance(box, list) and box else None,
        shape,
        any(entry.get(k) in (1, '1', 'true') for k in ('iscrowd', 'ignore')),
    )
