"""One folder of images a class, as ImageNet has them."""

from __future__ import annotations

import os.path as osp
from collections import Counter, defaultdict

from ..folder import Folder, split_of
from ..records import DataSet, Findings, Place, Sample


def find(folder: Folder) -> str:
    """Say how many folders of images there are."""
    classes = {name for name in map(_class_of, folder.images) if name}
    return f'{len(classes)} folders of images' if classes else ''


def read(folder: Folder, findings: Findings) -> DataSet:
    """Take the last folder of every image for its class."""
    samples, folders = [], defaultdict(Counter)
    for image in folder.images:
        name = _class_of(image)
        if not name:
            findings.add(
                'image without labels',
                image,
                'it lies in no folder of a class',
                'left out',
            )
            continue
        label = name.strip()
        where = osp.dirname(image)
        sample = Sample(image, Place(where), _split_above(image), label=label)
        folders[label.lower()][label, where] += 1
        samples.append(sample)
    names = _merge_cases(folders, samples, findings)
    _find_empty(folder, findings)
    return DataSet(
        folder.root,
        'folders of images',
        'classification',
        names,
        samples,
        findings,
    )


def _class_of(image: str) -> str:
    """The folder that names the class; '' if that is a split or none."""
    name = osp.basename(osp.dirname(image))
    inside = split_of(f'{name.lower()}/x', files=False)
    return '' if inside and name.lower().isalpha() else name


def _split_above(image: str) -> str:
    """The split by the folders above that of the class."""
    return split_of(osp.dirname(image), files=False)


def _merge_cases(
    folders: dict, samples: list[Sample], findings: Findings
) -> list[str]:
    """Merge classes whose folders differ in case or spaces alone."""
    chosen = {}
    for lower, group in folders.items():
        names = sorted({label for label, _ in group})
        chosen[lower] = names[0]
        for name in names[1:]:
            where = next(w for label, w in group if label == name)
            findings.add(
                'class named twice',
                where,
                f'{name!r} and {names[0]!r} differ in case alone',
                'merged into one class',
            )
    for sample in samples:
        sample.label = chosen[sample.label.lower()]
    return sorted(chosen.values())


def _find_empty(folder: Folder, findings: Findings) -> None:
    """Find folders that hold files, but no image."""
    files = Counter(map(osp.dirname, folder.files))
    images = Counter(map(osp.dirname, folder.images))
    for inside, count in sorted(files.items()):
        if inside and not images[inside]:
            findings.add(
                'folder without images',
                inside,
                f'{count} files, none of them an image',
                'left out',
            )
