"""Pascal VOC: one xml an image, boxes."""

from __future__ import annotations

import os.path as osp
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
            findings.add('broken label file', place, str(error), 'left out')
            continue
        if tree is None or tree.name != 'annotation':
            continue
        image = _find_image(folder, name, tree)
        asked = tree.text('filename') or osp.basename(name)
        if not is_usable(image, asked, Place(name), samples, findings):
            continue
        sample = Sample(image, Place(name), folder.split_for(image, name))
        sample.things = _read_things(name, tree, findings)
        sample.size = (
            _number(tree.find('size'), 'width'),
            _number(tree.find('size'), 'height'),
        )
        samples[image] = sample
    for image in folder.images:
        if image not in samples and 'segmentation' not in image.lower():
            findings.add(
                'image without labels', image, 'it has no xml', 'left out'
            )
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
    inside = tree.text('filename')
    found = folder.image_for(inside, name) if inside else None
    return found or folder.image_for(stem, name)


def _read_things(name: str, tree: Element, findings: Findings) -> list[Thing]:
    things = []
    for item in tree.all('object'):
        place = Place(name, item.line)
        label, corners = item.text('name').strip(), item.find('bndbox')
        try:
            left, top, right, bottom = (
                float(corners.text(key))
                for key in ('xmin', 'ymin', 'xmax', 'ymax')
            )
        except (AttributeError, ValueError):
            findings.add(
                'object without box',
                place,
                f'{label!r} has no bndbox of four numbers',
                'object left out',
            )
            continue
        # VOC counts pixels from 1, as mmdet's XMLDataset knows.
        box = (left - 1, top - 1, right - left, bottom - top)
        hard = item.text('difficult').strip() == '1'
        things.append(Thing(label, place, box, crowd=hard))
    return things


def _number(element: Element | None, key: str) -> int | None:
    text = element.text(key).strip() if element else ''
    return int(float(text)) if text.replace('.', '', 1).isdigit() else None


class Element:
    """An xml element that knows its line."""

    def __init__(self, name: str, line: int) -> None:
        self.name, self.line = name, line
        self.children: list[Element] = []
        self.content = ''

    def all(self, name: str) -> list[Element]:
        """The children of a name."""
        return [child for child in self.children if child.name == name]

    def find(self, name: str) -> Element | None:
        """The first child of a name."""
        return next(iter(self.all(name)), None)

    def text(self, name: str) -> str:
        """The text of a child, or ''."""
        child = self.find(name)
        return child.content if child else ''


def _parse(path: str) -> Element | None:
    """Read an xml file; expat itself refuses entities that explode."""
    parser = expat.ParserCreate()
    stack = [Element('', 0)]

    def start(name: str, _: dict) -> None:
        child = Element(name, parser.CurrentLineNumber)
        stack[-1].children.append(child)
        stack.append(child)

    def add_text(text: str) -> None:
        stack[-1].content += text

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = add_text
    with open(path, 'rb') as file:
        parser.ParseFile(file)
    return next(iter(stack[0].children), None)
