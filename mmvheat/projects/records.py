"""What a reader says about a data set, whatever format it came in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Union

if TYPE_CHECKING:
    from .readers.label_maps import LabelMaps

Polygons = list[list[float]]
Shape = Union[Polygons, dict]
"""Polygons as x1, y1, x2, ... in pixels, or a run-length code of COCO."""

SPLITS = ('train', 'val', 'test')


class Place:
    """A place in the user's files.

    Args:
        file (str): The file.
        line (int | Callable): Its line, counted from 1; 0 if unknown. A
            function finds it when somebody asks.
    """

    __slots__ = ('file', '_line')

    def __init__(self, file: str, line: int | Callable[[], int] = 0) -> None:
        self.file, self._line = file, line

    @property
    def line(self) -> int:
        """The line."""
        return self._line() if callable(self._line) else self._line

    def __str__(self) -> str:
        return f'{self.file}:{self.line}' if self.line else self.file


class Finding(NamedTuple):
    """Something wrong or unusual, and what was done about it: repaired how,
    left out, kept.
    """

    kind: str
    place: Place
    what: str
    done: str


class Findings(list):
    """All findings of a data set."""

    def add(
        self,
        kind: str,
        place: Place | str,
        what: str,
        done: str = 'left out',
    ) -> None:
        """Add one; all of a ``kind`` have the same few words for it."""
        if isinstance(place, str):
            place = Place(place)
        self.append(Finding(kind, place, what, done))

    def count(self) -> Counter:
        """How many there are of each kind."""
        return Counter(finding.kind for finding in self)

    def main_reason(self) -> str:
        """A sentence about what was most often left out, or found."""
        found = Findings(f for f in self if 'left out' in f.done) or self
        if not found:
            return ''
        kind, count = found.count().most_common(1)[0]
        first = next(finding for finding in found if finding.kind == kind)
        return f' Found {count} x {kind}, first {first.place}: {first.what}.'


@dataclass
class Thing:
    """An object on an image; box and outline are in pixels."""

    name: str  # of its class
    place: Place  # where it is described
    box: tuple[float, float, float, float] | None = None  # x, y, width, height
    shape: Shape | None = None  # its outline
    crowd: bool = False  # whether training and test ignore it
    area: float = 0.0


@dataclass
class Sample:
    """An image and its labels."""

    path: str  # relative to the root of the data set
    place: Place  # where its labels are
    # 'train', 'val', 'test', 'trainval' for train or val; '' where the data
    # have none.
    split: str = ''
    things: list[Thing] = field(default_factory=list)
    label: str = ''  # its class, for classification
    label_map: str = ''  # an absolute path
    size: tuple[int, int] = (0, 0)  # width and height, as mmcv reads it
    digest: str = ''  # hash of the file's bytes


@dataclass
class DataSet:
    """A data set in memory."""

    root: str  # the folder that image paths are relative to
    format: str  # what it was read as
    task: str  # 'detection', 'instances', 'segmentation', 'classification'
    classes: list[str]  # in the order of their numbers
    samples: list[Sample]
    findings: Findings
    palette: list[list[int]] | None = None  # an RGB colour a class
    maps: LabelMaps | None = None  # reads its label maps
    # Whether boxes and outlines are shares of the image, from 0 to 1.
    in_shares: bool = False

    def of_split(self, split: str) -> list[Sample]:
        """The samples of a split."""
        return [sample for sample in self.samples if sample.split == split]


def unique_names(names: list[tuple[str, Place]], findings: Findings) -> list:
    """Merge classes that have the same name; the order stays.

    Every name comes with the place where it stands.
    """
    seen = {}
    for name, place in names:
        if name in seen:
            findings.add(
                'class named twice',
                place,
                f'{name!r} stands at {seen[name]} as well',
                'merged into one class',
            )
        seen.setdefault(name, place)
    return list(seen)
