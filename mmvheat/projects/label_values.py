"""What the values of label maps mean, and the maps as mmseg reads them."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mmvheat.errors import UserError

from .label_scan import Scan, colours_of, open_map, pack, scan_map
from .map_names import Colour, MapNames
from .records import Findings, Place, Sample, unique_names

IGNORED = 255


class LabelMaps:
    """Label maps of a data set.

    Args:
        names (MapNames): What its files say about names.
        findings (Findings): Gets what is odd.

    Attributes:
        classes (list[str]): Names, in the order of the numbers written.
        palette (list | None): Colours, where the maps have them.
        pixels (Counter): Pixels by class number.
        scans (dict[str, Scan]): By the path of a map.
    """

    def __init__(self, names: MapNames, findings: Findings) -> None:
        self.names, self.findings = names, findings
        self.classes: list[str] = []
        self.palette: list[list[int]] | None = None
        self.table: dict = {}
        self.scans: dict[str, Scan] = {}
        self.by_colour = False

    def scan(self, samples: list[Sample]) -> list[Sample]:
        """Look into every map, and decide what its values mean.

        Returns:
            list[Sample]: Those whose map can be used.
        """
        paths = [sample.label_map for sample in samples]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self.scans = dict(zip(paths, pool.map(scan_map, paths)))
        samples = self._drop(samples, lambda scan: scan.fault)
        if not samples:
            return []
        self.by_colour = self._choose_colours(samples)
        samples = self._drop(samples, self._fault_of_kind)
        if self.by_colour:
            self._name_colours(samples)
        else:
            self._name_numbers(samples)
        if len(self.classes) > 254:
            raise UserError(
                f'The label maps hold {len(self.classes)} values, at most '
                '254 classes fit; give maps of class numbers, no photographs.'
            )
        return samples

    def count_pixels(self, path: str) -> Counter:
        """The pixels of each class in a map, by number."""
        pixels = Counter()
        for value, count in self._count_values(path).items():
            pixels[self.table.get(value, IGNORED)] += count
        return pixels

    def _count_values(self, path: str) -> dict:
        scan = self.scans[path]
        return colours_of(scan) if self.by_colour else scan.counts

    def read(self, path: str, size: tuple[int, int]) -> np.ndarray:
        """A map as mmseg reads it, (H, W) uint8: class numbers, 255 ignored.

        It gets the size, width and height, of its image.
        """
        from PIL import Image

        values, palette = open_map(path)
        if self.by_colour:
            if values.ndim == 2:
                black = (0, 0, 0)
                colours = [palette.get(i, black) for i in range(256)]
                values = np.array(colours)[values]
            values = pack(values)
        elif values.ndim == 3:
            values = values[..., 0]
        labels = np.full(values.shape, IGNORED, np.uint8)
        for value in self._count_values(path):
            found = pack(np.array(value)) if self.by_colour else value
            labels[values == found] = self.table.get(value, IGNORED)
        if labels.shape != size[::-1]:
            image = Image.fromarray(labels)
            labels = np.array(image.resize(size, Image.Resampling.NEAREST))
        return labels

    def _drop(self, samples: list[Sample], fault: object) -> list[Sample]:
        kept = []
        for sample in samples:
            reason = fault(self.scans[sample.label_map])
            if reason:
                self.findings.add('broken label file', sample.place, reason)
            else:
                kept.append(sample)
        return kept

    def _fault_of_kind(self, scan: Scan) -> str:
        """Why a map does not go with the others, or ''."""
        if self.by_colour and not colours_of(scan):
            return 'it has numbers, most others have colours'
        if scan.kind == 'colours' and not self.by_colour:
            return 'it has colours, most others have numbers'
        return ''

    def _choose_colours(self, samples: list[Sample]) -> bool:
        """Whether colours tell the classes, not numbers."""
        scans = [(s, self.scans[s.label_map]) for s in samples]
        painted = [s for s, scan in scans if scan.kind == 'colours']
        # Beside colours, grey in three channels is a colour too.
        greys = sum(scan.kind == 'grey' for _, scan in scans)
        if painted and (len(painted) + greys) * 2 < len(scans):
            return False
        if painted:
            self.findings.add(
                'colours without numbers',
                painted[0].place,
                f'{len(painted)} of {len(scans)} label maps are painted in '
                'RGB',
                'each colour became a class number',
            )
            return True
        seen: dict[int, tuple[Colour, Sample]] = {}
        for sample, scan in scans:
            for number in scan.counts:
                colour = scan.palette.get(number)
                if colour is None and scan.palette:
                    self.findings.add(
                        'number beyond the palette',
                        sample.place,
                        f'{number}, the palette ends at {max(scan.palette)}',
                        'taken as the number that it is',
                    )
                elif colour is not None:
                    first = seen.setdefault(number, (colour, sample))
                    if first[0] != colour:
                        self.findings.add(
                            'palettes differ',
                            sample.place,
                            f'{number} is {colour} here and {first[0]} in '
                            f'{first[1].place}',
                            'colours tell the class, not numbers',
                        )
                        return True
        return False

    def _name_colours(self, samples: list[Sample]) -> None:
        places: dict[Colour, Place] = {}
        for sample in samples:
            for colour in colours_of(self.scans[sample.label_map]):
                places.setdefault(colour, sample.place)
        named = self.names.colours
        if named:
            self.classes = unique_names(self.names.places, self.findings)
            for colour, place in places.items():
                if colour not in named:
                    self.findings.add(
                        'value without a name',
                        place,
                        f'the colour {colour}',
                        'ignored in training and test',
                    )
            self.table = {
                colour: self.classes.index(name)
                for colour, name in named.items()
            }
            self.palette = [
                list(next(c for c, n in named.items() if n == name))
                for name in self.classes
            ]
            return
        colours = sorted(places, key=lambda colour: (sum(colour) > 0, colour))
        self.classes = [
            'background' if sum(c) == 0 else f'#{bytes(c).hex()}'
            for c in colours
        ]
        self.table = {colour: i for i, colour in enumerate(colours)}
        self.palette = [list(colour) for colour in colours]

    def _name_numbers(self, samples: list[Sample]) -> None:
        places: dict[int, Place] = {}
        palette: dict[int, Colour] = {}
        for sample in samples:
            scan = self.scans[sample.label_map]
            for number in scan.counts:
                places.setdefault(number, sample.place)
            palette = {**scan.palette, **palette}
        numbers = sorted(places)
        names = self._names_of(numbers, places)
        classes = unique_names(
            [
                (name, self._place_of(name, places.get(number)))
                for number, name in names.items()
            ],
            self.findings,
        )
        self.classes = classes
        self.table = {n: classes.index(name) for n, name in names.items()}
        for number in numbers:
            if number not in names and number not in (0, IGNORED):
                self.findings.add(
                    'value without a name',
                    places[number],
                    f'the number {number}',
                    'ignored in training and test',
                )
        if palette and all(number in palette for number in names):
            first = {c: n for n, c in reversed(self.table.items())}
            self.palette = [
                list(palette[first[i]]) for i in range(len(classes))
            ]

    def _place_of(self, name: str, default: Place | None) -> Place:
        """Where a name stands; of one named again, the later place."""
        found = [place for text, place in self.names.places if text == name]
        return found[-1] if found else default or Place('label maps')

    def _names_of(self, numbers: list[int], places: dict) -> dict[int, str]:
        """The name of every number that is a class."""
        listed, known = self.names.listed, dict(self.names.numbers)
        if numbers in ([0, IGNORED], [IGNORED]):
            names = listed if len(listed) == 2 else ['background']
            names = [*names, *(listed or ['foreground'])][:2]
            self.findings.add(
                'mask of 0 and 255',
                places[IGNORED],
                '255 is the only value besides 0',
                f'taken as {names[1]!r}, not as ignored',
            )
            return {0: names[0], IGNORED: names[1]}
        used = [number for number in numbers if number != IGNORED]
        if listed and not known:
            # Where there is a number more than names, 0 has none.
            start = int(used[-1] == len(listed))
            known = dict(enumerate(listed, start))
            if not start and 'background' not in listed[0].lower():
                self.findings.add(
                    'names without numbers',
                    self._place_of(listed[0], None),
                    f'0 is taken for {listed[0]!r}, the first of them',
                    f"kept; if 0 has no name, write '1: {listed[0]}', ...",
                )
        if known:
            if len(known) == 1 and 0 in used and 0 not in known:
                (name,) = known.values()
                known = {0: 'background', **known}
                self.findings.add(
                    'one class alone',
                    places[0],
                    f'{name!r} needs something to differ from',
                    "0 became the class 'background'",
                )
            return known
        if used[-1] - used[0] >= len(used):
            self.findings.add(
                'ids with gaps',
                places[used[-1]],
                f'{len(used)} numbers lie between {used[0]} and {used[-1]}, '
                'and no file names them',
                'numbered anew without gaps, in the same order',
            )
        return {
            number: f'class_{number}' if number else 'background'
            for number in used
        }
