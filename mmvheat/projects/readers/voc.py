"""Pascal VOC: one xml an image, boxes."""

from __future__ import annotations

import os.path as osp
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ..folder import Folder
from ..records import DataSet, Findings, Place, Sample, Thing, is_usable


def find(folder: Folder) -> str:
    """Say how many xml files of VOC there are."""
    names = folder.with_suffix('.xml')
    if not any('<annotation' in _start(folder, n) for n in names[:8]):
        return ''
    return f'Pascal VOC xml ({len(names)} files)'


def read(folder: Folder, findings: Findings) -> DataSet:
    """Read all xml files of a folder."""
    samples = {}
    for name in folder.with_suffix('.xml'):
        try:
            tree = _parse(folder.full(name))
        except (expat.ExpatError, OSError, ValueError) as error:
            place = Place(name, getattr(error, 'lineno', 0))
            findings.add('broken label file', place, str(error))
            continue
        if tree.tag != 'annotation':
            continue
        image = _find_image(folder, name, tree)
        asked = tree.findtext('filename') or osp.basename(name)
        if not is_usable(image, asked, Place(name), samples, findings):
            continue
        sample = Sample(image, Place(name), folder.split_for(image, name))
        sample.things = _read_things(name, tree, findings)
        sample.size = (
            _number(tree.findtext('size/width', '')),
            _number(tree.findtext('size/height', '')),
        )
        samples[image] = sample
    for image in folder.images:
        if image not in samples and 'segmentation' not in image.lower():
            findings.add('image without labels', image, 'it has no xml')
    classes = {t.name for s in samples.values() for t in s.things}
    return DataSet(
        folder.root,
        'Pascal VOC xml',
        'detection',
        sorted(classes),
        list(samples.values()),
        findings,
    )


def _start(folder: Folder, name: str) -> str:
    with open(folder.full(name), errors='replace') as file:
        return file.read(2048)


def _find_image(folder: Folder, name: str, tree: Element) -> str | None:
    """By the name inside, or by that of the xml, as VOC has it."""
    stem = osp.splitext(osp.basename(name))[0]
    inside = tree.findtext('filename')
    found = folder.image_for(inside, name) if inside else None
    return found or folder.image_for(stem, name)


def _read_things(name: str, tree: Element, findings: Findings) -> list[Thing]:
    things = []
    for item in tree.findall('object'):
        place = Place(name, item.get('line'))
        label = item.findtext('name', '').strip()
        try:
            left, top, right, bottom = (
                float(item.findtext(f'bndbox/{key}', ''))
                for key in ('xmin', 'ymin', 'xmax', 'ymax')
            )
        except ValueError:
            findings.add(
                'object without box',
                place,
                f'{label!r} has no bndbox of four numbers',
                'object left out',
            )
            continue
        # VOC counts pixels from 1, as mmdet's XMLDataset knows.
        box = (left - 1, top - 1, right - left, bottom - top)
        hard = item.findtext('difficult', '').strip() == '1'
        things.append(Thing(label, place, box, crowd=hard))
    return things


def _number(text: str) -> int | None:
    text = text.strip()
    return int(float(text)) if text.replace('.', '', 1).isdigit() else None


def _parse(path: str) -> Element:
    """Read an xml file; every element has its line, as an attribute.

    Expat itself refuses entities that explode.
    """
    parser, builder = expat.ParserCreate(), TreeBuilder()

    def start(name: str, _: dict) -> None:
        builder.start(name, {'line': parser.CurrentLineNumber})

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    with open(path, 'rb') as file:
        parser.ParseFile(file)
    return builder.close()
