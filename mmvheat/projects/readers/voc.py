"""Pascal VOC: one xml an image, boxes."""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ..folder import Folder
from ..records import DataSet, Place, Thing
from .common import add_sample, report_unlabelled


def find(folder: Folder) -> str:
    """Say how many xml files of VOC there are."""
    names = folder.with_suffix('.xml')
    if not any('<annotation' in _start(folder, n) for n in names[:8]):
        return ''
    return f'Pascal VOC xml ({len(names)} files)'


def read(folder: Folder) -> DataSet:
    """Read all xml files of a folder."""
    samples = {}
    for name in folder.with_suffix('.xml'):
        try:
            tree = _parse(folder.full(name))
        except (expat.ExpatError, OSError, ValueError) as error:
            place = Place(name, getattr(error, 'lineno', 0))
            folder.report('broken label file', place, str(error))
            continue
        if tree.tag != 'annotation':
            continue
        asked = tree.findtext('filename', '')
        sample = add_sample(samples, folder, name, asked)
        if sample is None:
            continue
        sample.things = _read_things(folder, name, tree)
        sample.size = (
            _number(tree.findtext('size/width', '')),
            _number(tree.findtext('size/height', '')),
        )
    masks = {i for i in folder.images if 'segmentation' in i.lower()}
    report_unlabelled(folder, samples.keys() | masks, 'it has no xml')
    classes = {t.name for s in samples.values() for t in s.things}
    return folder.data_set(
        'Pascal VOC xml', 'detection', sorted(classes), list(samples.values())
    )


def _start(folder: Folder, name: str) -> str:
    with open(folder.full(name), errors='replace') as file:
        return file.read(2048)


def _read_things(folder: Folder, name: str, tree: Element) -> list[Thing]:
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
            folder.report(
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
