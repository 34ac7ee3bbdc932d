"""One folder of images a class, as ImageNet has them."""

from __future__ import annotations

import os.path as osp
from collections import Counter, defaultdict

from ..folder import SPLIT_WORDS, Folder, split_of
from ..records import DataSet, Place, Sample


def find(folder: Folder) -> str:
    """Say how many folders of images there are."""
    classes = set(_name_classes(folder).values()) - {''}
    return f'{len(classes)} folders of images' if classes else ''


def read(folder: Folder) -> DataSet:
    """Take the last folder of every image for its class."""
    samples, folders = [], defaultdict(Counter)
    names = _name_classes(folder)
    for image in folder.images:
        where = osp.dirname(image)
        label = names[where].strip()
        if not label:
            folder.report(
                'image without labels',
                image,
                'it lies in no folder of a class',
            )
            continue
        split = split_of(where, files=False)  # by those above the class
        sample = Sample(image, Place(where), split, label=label)
        folders[label.lower()][label, where] += 1
        samples.append(sample)
    classes = _merge_cases(folder, folders, samples)
    _find_nested(folder, names)
    _find_empty(folder)
    return folder.data_set(
        'folders of images', 'classification', classes, samples
    )


def _name_classes(folder: Folder) -> dict[str, str]:
    """The class of each folder that holds images, '' for one that is none.

    A folder named like a split is a class within a split, as in
    ``train/train``, and ``train`` is one beside other classes: vehicles.
    """
    holders = {osp.dirname(image) for image in folder.images} - {''}
    # Where another split lies beside it, train is one too.
    splits = {
        osp.dirname(where)
        for where in holders
        if SPLIT_WORDS.get(osp.basename(where).lower()) in ('val', 'test')
    }
    with_classes = {
        osp.dirname(where)
        for where in holders
        if not _is_no_class(osp.basename(where))
    }
    names = {'': ''}
    for where in holders:
        above, name = osp.split(where)
        is_class = not _is_no_class(name)
        if name.lower() in SPLIT_WORDS:
            beside = above in with_classes - splits and name.lower() == 'train'
            is_class = beside or osp.basename(above).lower() in SPLIT_WORDS
        names[where] = name if is_class else ''
    return names


def _is_no_class(name: str) -> bool:
    """Whether a folder is named like a split, or like images of all kinds."""
    return name.lower() in (*SPLIT_WORDS, 'images', 'imgs', 'jpegimages')


def _find_nested(folder: Folder, names: dict[str, str]) -> None:
    """Find classes whose folders lie in several: cat/day1, dog/day1."""
    above = defaultdict(dict)
    for where, name in sorted(names.items()):
        parents = [p for p in osp.dirname(where).split('/') if not split_of(p)]
        if name:
            above[name].setdefault('/'.join(parents), where)
    for name, places in above.items():
        if len(places) > 1:
            folder.report(
                'class in several folders',
                next(iter(places.values())),
                f'{name!r} lies in {", ".join(map(repr, list(places)[:3]))}',
                'the last folder names the class; a csv can name others',
            )


def _merge_cases(
    folder: Folder, folders: dict, samples: list[Sample]
) -> list[str]:
    """Merge classes whose folders differ in case or spaces alone."""
    chosen = {}
    for lower, group in folders.items():
        names = sorted({label for label, _ in group})
        chosen[lower] = names[0]
        for name in names[1:]:
            where = next(w for label, w in group if label == name)
            folder.report(
                'class named twice',
                where,
                f'{name!r} and {names[0]!r} differ in case alone',
                'merged into one class',
            )
    for sample in samples:
        sample.label = chosen[sample.label.lower()]
    return sorted(chosen.values())


def _find_empty(folder: Folder) -> None:
    """Find folders that hold files, but no image."""
    files = Counter(map(osp.dirname, folder.files))
    images = Counter(map(osp.dirname, folder.images))
    for inside, count in sorted(files.items()):
        if inside and not images[inside]:
            folder.report(
                'folder without images',
                inside,
                f'{count} files, none of them an image',
            )
