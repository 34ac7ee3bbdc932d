"""YOLO: a txt file an image, a line an object, numbers from 0 to 1."""

from __future__ import annotations

import os.path as osp
from typing import Any

import yaml

from ..folder import Folder, read_lines, split_of
from ..records import DataSet, Place, Sample, Thing, unique_names
from .common import choose_task, report_unlabelled

_IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img', 'jpegimages')
_NAME_FILES = ('classes.txt', 'obj.names', 'names.txt', 'labels.txt')


def find(folder: Folder) -> str:
    """Say how many images have a txt file of numbers."""
    pairs = _pair(folder)
    for label in list(pairs.values())[:50]:
        lines = [n for n in read_lines(folder.full(label)) if n.strip()]
        if lines and _numbers(lines[0]) is None:
            return ''
        if lines:
            return f'YOLO txt ({len(pairs)} files)'
    yamls = _read_yaml(folder)
    return f'YOLO txt ({len(pairs)} files)' if pairs and yamls else ''


def read(folder: Folder) -> DataSet:
    """Read all txt files of a folder.

    An image whose txt file is empty shows nothing; one without a txt file
    has not been labelled and is left out.
    """
    names, splits = _read_names(folder), _read_splits(folder)
    pairs = _pair(folder)
    used = set(pairs.values())
    for label in folder.with_suffix('.txt'):
        looks = 'labels' in label.lower().split('/')[:-1]
        if label not in used and looks and not label.endswith(_NAME_FILES):
            folder.report(
                'labels without image', label, 'no image has its name'
            )
    samples, numbers = [], set()
    report_unlabelled(folder, pairs, 'it has no txt')
    for image, label in pairs.items():
        sample = Sample(image, Place(label))
        sample.split = splits.get(image) or folder.split_for(image)
        sample.things = _read_things(folder, label)
        numbers.update(thing.name for thing in sample.things)
        samples.append(sample)
    if names is None:
        present = sorted(numbers)
        if present and present[-1] >= len(present):
            folder.report(
                'ids with gaps',
                folder.root,
                f'{len(present)} class numbers lie between 0 and '
                f'{present[-1]}, and no file names them',
                'numbered anew without gaps, in the same order',
            )
        labels = {number: f'class_{number}' for number in present}
        classes = list(labels.values())
    else:
        labels = {number: name for number, (name, _) in names.items()}
        classes = unique_names(list(names.values()), folder.findings)
    for sample in samples:
        _name_things(folder, sample, labels)
    things = [thing for sample in samples for thing in sample.things]
    task = choose_task(folder, things)
    data = folder.data_set('YOLO txt', task, classes, samples)
    data.in_shares = True
    return data


def _pair(folder: Folder) -> dict[str, str]:
    """Images and their txt files: beside them, or labels/ for images/."""
    texts = set(folder.with_suffix('.txt'))
    pairs = {}
    for image in folder.images:
        stem = osp.splitext(image)[0]
        parts = stem.split('/')
        places = [stem]
        for index, part in enumerate(parts[:-1]):
            if part.lower() in _IMAGE_FOLDERS:
                for word in ('labels', 'Labels'):
                    moved = [*parts[:index], word, *parts[index + 1 :]]
                    places.append('/'.join(moved))
        for place in places:
            if f'{place}.txt' in texts:
                pairs[image] = f'{place}.txt'
                break
    return pairs


def _numbers(line: str) -> list[float] | None:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        return None
    is_class = values and values[0] >= 0 and values[0].is_integer()
    return values if is_class and len(values) >= 5 else None


def _read_things(folder: Folder, label: str) -> list[Thing]:
    things = []
    for number, line in enumerate(read_lines(folder.full(label)), 1):
        place = Place(label, number)
        values = _numbers(line)
        if not line.strip():
            continue
        if values is None or (len(values) > 5 and len(values) % 2 == 0):
            folder.report(
                'line that is no label',
                place,
                f'{line[:60]!r}, expected are a class and 4 numbers, or a '
                'class and pairs of numbers',
                'line left out',
            )
            continue
        if max(map(abs, values[1:])) > 2:
            folder.report(
                'line that is no label',
                place,
                f'{line[:60]!r} is in pixels, expected are shares from 0 to 1',
                'line left out',
            )
            continue
        things.append(_make_thing(values, place))
    return things


def _make_thing(values: list[float], place: Place) -> Thing:
    number, shares = int(values[0]), values[1:]
    if len(shares) == 4:
        x, y, width, height = shares
        box = (x - width / 2, y - height / 2, width, height)
        return Thing(number, place, box)
    return Thing(number, place, None, [shares])


def _name_things(folder: Folder, sample: Sample, labels: dict) -> None:
    for thing in sample.things:
        number, thing.name = thing.name, labels.get(thing.name)
        if thing.name is None:
            folder.report(
                'unknown class',
                thing.place,
                f'class {number}, but the names end at {max(labels)}',
                'object left out',
            )
    sample.things = [t for t in sample.things if t.name is not None]


def _read_yaml(folder: Folder) -> dict[str, Any]:
    """The content of data.yaml, its lines and its name; {} if none."""
    for name in folder.with_suffix('.yaml', '.yml'):
        try:
            with open(folder.full(name), encoding='utf-8-sig') as file:
                content = yaml.safe_load(file)
        except (yaml.YAMLError, UnicodeDecodeError, OSError):
            continue
        if isinstance(content, dict) and 'names' in content:
            return dict(content, file=name)
    return {}


def _read_names(folder: Folder) -> dict[int, tuple[str, Place]] | None:
    """The names of the class numbers, None if no file has any."""
    content = _read_yaml(folder)
    names = _number_names(content.get('names'))
    if names:
        lines = read_lines(folder.full(content['file']))
        found = {}
        for number, text in sorted(names.items()):
            rows = [i for i, line in enumerate(lines, 1) if text in line]
            seen = sum(text == other for other, _ in found.values())
            row = rows[min(seen, len(rows) - 1)] if rows else 0
            found[number] = (text, Place(content['file'], row))
        return found
    if content:
        folder.report(
            'broken label file',
            content['file'],
            f'its names are {str(content["names"])[:60]!r}, expected is a '
            'list of names, or a name for each number',
            'its names are not used',
        )
    for name in folder.with_suffix(*_NAME_FILES):
        if osp.basename(name).lower() in _NAME_FILES:
            lines = [line.strip() for line in read_lines(folder.full(name))]
            while lines and not lines[-1]:
                lines.pop()
            return {
                index: (line or f'class_{index}', Place(name, index + 1))
                for index, line in enumerate(lines)
            } or None
    return None


def _number_names(names: object) -> dict[int, str]:
    """Names by number, {} for what is neither a list nor such a dict."""
    if isinstance(names, list):
        names = dict(enumerate(names))
    try:
        return {int(n): str(name).strip() for n, name in names.items()}
    except (AttributeError, TypeError, ValueError):
        return {}


def _read_splits(folder: Folder) -> dict[str, str]:
    """Splits that data.yaml names: folders, or lists of images."""
    content, splits = _read_yaml(folder), {}
    near = osp.dirname(content.get('file', ''))
    base = osp.join(near, str(content.get('path', '')))
    for split in ('train', 'val', 'test'):
        entries = content.get(split) or []
        for entry in [entries] if isinstance(entries, str) else entries:
            for path in _resolve(folder, base, near, entry):
                splits.setdefault(path, split)
    return splits


def _resolve(folder: Folder, base: str, near: str, entry: str) -> list[str]:
    for start in (base, near, ''):
        path = osp.normpath(osp.join(start, str(entry)))
        if osp.isabs(path):
            path = osp.relpath(path, folder.root)
        if path in folder.files and path.endswith('.txt'):
            lines = [n.strip() for n in read_lines(folder.full(path))]
            found = [folder.image_for(line, path) for line in lines if line]
            return [image for image in found if image]
        inside = [i for i in folder.images if i.startswith(f'{path}/')]
        if inside:
            return inside
    split = split_of(str(entry))
    return [i for i in folder.images if split and split_of(i) == split]
