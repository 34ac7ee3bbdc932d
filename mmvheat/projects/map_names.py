"""Names of the numbers or colours in label maps, where a file has them."""

from __future__ import annotations

import os.path as osp
import re
from dataclasses import dataclass, field

from .folder import Folder, read_lines
from .records import Place

Colour = tuple[int, int, int]

_FILES = ('classes.txt', 'labels.txt', 'names.txt', 'class_names.txt')
_FILES += ('labelmap.txt', 'label_names.txt', 'label_colors.txt')
_FILES += ('class_dict.csv', 'objectinfo150.txt')

_NAME_COLOUR = re.compile(  # name,r,g,b or, of CVAT, name:r,g,b:parts:actions
    r'^\s*(?P<name>[^#,:;][^,:;]*)[,:;]\s*'
    r'(?P<rgb>\d+\s*,\s*\d+\s*,\s*\d+)\s*(?:[:,].*)?$'
)
_COLOUR_NAME = re.compile(  # r g b name, of CamVid
    r'^\s*(?P<rgb>\d+[\s,]+\d+[\s,]+\d+)[\s,]+(?P<name>\D.*)$'
)
_NUMBER_NAME = re.compile(  # 3: name
    r'^\s*(?P<number>\d+)\s*[:,;=\t]\s*(?P<name>\S.*)$'
)


@dataclass
class MapNames:
    """Names of classes by the number or colour in a map.

    ``listed`` are those of a file that has names alone, in their order;
    ``places`` has all names, and where they stand.
    """

    numbers: dict[int, str] = field(default_factory=dict)
    colours: dict[Colour, str] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)
    places: list[tuple[str, Place]] = field(default_factory=list)


def read_names(folder: Folder) -> MapNames:
    """Read the names from the first file that has some."""
    for path in folder.with_suffix(*_FILES):
        if osp.basename(path).lower() not in _FILES:
            continue
        names = MapNames()
        lines = read_lines(folder.full(path))
        is_ade = 'objectinfo' in path.lower()
        for number, line in enumerate(lines, 1):
            place = Place(path, number)
            if is_ade:
                _add_ade(names, line, place)
            elif line.strip():
                _add(names, line, place)
        if names.places:
            return names
    return MapNames()


def _add_ade(names: MapNames, line: str, place: Place) -> None:
    """A line of ADE20K: number, three shares, synonyms; tabs between."""
    cells = line.split('\t')
    if len(cells) > 4 and cells[0].strip().isdigit():
        name = cells[4].split(',')[0].strip()
        names.numbers[int(cells[0])] = name
        names.places.append((name, place))


def _add(names: MapNames, line: str, place: Place) -> None:
    coloured = _NAME_COLOUR.match(line) or _COLOUR_NAME.match(line)
    numbered = _NUMBER_NAME.match(line)
    if coloured:
        rgb = tuple(map(int, re.findall(r'\d+', coloured['rgb'])))
        name = coloured['name'].strip()
        names.colours[rgb] = name
    elif line.lstrip().startswith('#') or line.lower().startswith('name,'):
        return
    elif numbered:
        name = numbered['name'].strip()
        names.numbers[int(numbered['number'])] = name
    else:
        name = line.strip()
        names.listed.append(name)
    names.places.append((name, place))
