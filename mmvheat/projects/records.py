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
    """An object on an image.

    Attributes:
        name (str): Its class.
        place (Place): Where it is described.
        box (tuple, optional): x, y, width, height in pixels.
        shape (Shape, optional): Its outline.
        crowd (bool): Whether training and test ignore it.
        area (float): Its pixels.
    """

    name: str
    place: Place
    box: tuple[float, float, float, float] | None = None
    shape: Shape | None = None
    crowd: bool = False
    area: float = 0.0


@dataclass
class Sample:
    """An image and its labels.

    Attributes:
        path (str): The image, relative to the root of the data set.
        place (Place): Where its labels are.
        split (str): 'train', 'val', 'test', 'trainval' for train or val, or
            '' where the data have none.
        things (list[Thing]): Its objects.
        label (str): Its class, for classification.
        label_map (str): Its label map, an absolute path.
        size (tuple[int, int]): Width and height in pixels, as mmcv reads it.
        digest (str): Hash of the file's bytes.
    """

    path: str
    place: Place
    split: str = ''
    things: list[Thing] = field(default_factory=list)
    label: str = ''
    label_map: str = ''
    size: tuple[int, int] = (0, 0)
    digest: str = ''


@dataclass
class DataSet:
    """A data set in memory.

    Attributes:
        root (str): The folder that image paths are relative to.
        format (str): What it was read as.
        task (str): 'detection', 'instances', 'segmentation' or
            'classification'.
        classes (list[str]): Names, in the order of their numbers.
        samples (list[Sample]): Images with labels.
        findings (Findings): What is wrong with it.
        palette (list, optional): An RGB colour a class.
        maps (LabelMaps, optional): Reads its label maps.
        in_shares (bool): Whether boxes and outlines are shares of the image
            from 0 to 1 instead of pixels.
    """

    root: str
    format: str
    task: str
    classes: list[str]
    samples: list[Sample]
    findings: Findings
    palette: list[list[int]] | None = None
    maps: LabelMaps | None = None
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
