"""What is in one label map: numbers, colours, or grey that may be either."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from .images import name_fault
from .map_names import Colour

_MOST_COLOURS = 1000  # in one file; a photograph has more


class Scan(NamedTuple):
    """What is in one label map."""

    # 'numbers' or 'colours'; 'grey' for three channels that are equal, the
    # numbers of which are counted; '' if it cannot be read.
    kind: str = ''
    counts: dict = {}  # pixels of each number or RGB colour
    palette: dict = {}  # the RGB colour of each number, if it has a palette
    size: tuple[int, int] = (0, 0)  # width and height
    fault: str = ''  # why it cannot be used, or ''


def scan_map(path: str) -> Scan:
    """Look into one label map."""
    try:
        values, palette = open_map(path)
    except Exception as error:  # Pillow raises a dozen kinds
        return Scan(fault=name_fault(error, path))
    size = values.shape[1::-1]
    is_grey = values.ndim == 3 and (values == values[..., :1]).all()
    if values.ndim == 2 or is_grey:
        numbers = values[..., 0] if is_grey else values
        found, counts = np.unique(numbers, return_counts=True)
        counts = dict(zip(found.tolist(), counts.tolist()))
        return Scan('grey' if is_grey else 'numbers', counts, palette, size)
    packed, counts = np.unique(pack(values), return_counts=True)
    if len(packed) > _MOST_COLOURS:
        fault = f'{len(packed)} colours: a photograph, or blurred edges'
        return Scan(fault=fault)
    colours = [(int(v) >> 16, int(v) >> 8 & 255, int(v) & 255) for v in packed]
    return Scan('colours', dict(zip(colours, counts.tolist())), {}, size)


def open_map(path: str) -> tuple[np.ndarray, dict[int, Colour]]:
    """The values (H, W) or colours (H, W, 3) of a map, and its palette."""
    from PIL import Image

    with Image.open(path) as image:
        if image.mode == 'P':
            flat = image.getpalette('RGB')
            palette = dict(enumerate(zip(*(flat[i::3] for i in range(3)))))
            return np.array(image), palette
        if image.mode in ('1', 'L'):
            return np.array(image).astype(np.uint8), {}
        if image.mode.startswith('I'):
            return np.array(image).astype(np.int64), {}
        return np.array(image.convert('RGB')), {}


def pack(colours: np.ndarray) -> np.ndarray:
    """RGB as one integer; the last axis goes."""
    return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])


def colours_of(scan: Scan) -> dict[Colour, int]:
    """Pixels by colour; {} for a map that has numbers alone."""
    if scan.kind == 'colours':
        return scan.counts
    if scan.kind == 'grey':
        return {(n, n, n): count for n, count in scan.counts.items()}
    counts = Counter()
    for number, count in scan.counts.items():
        if number not in scan.palette:
            return {}
        counts[scan.palette[number]] += count
    return counts
