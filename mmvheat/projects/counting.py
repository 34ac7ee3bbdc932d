"""Numbers about a data set."""

from __future__ import annotations

from collections import Counter
from statistics import median

from .records import SPLITS, DataSet


def count_classes(data: DataSet, split: str) -> Counter:
    """Objects, images or pixels of each class in a split, by name."""
    counts = Counter(dict.fromkeys(data.classes, 0))
    for sample in data.of_split(split):
        if data.task == 'classification':
            counts[sample.label] += 1
        elif data.task == 'segmentation':
            pixels = data.maps.count_pixels(sample.label_map)
            for number, count in pixels.items():
                if number < len(data.classes):
                    counts[data.classes[number]] += count
        else:
            counts.update(thing.name for thing in sample.things)
    return counts


def unit_of(data: DataSet) -> str:
    """What :func:`count_classes` counts."""
    known = dict(classification='images', segmentation='pixels')
    return known.get(data.task, 'objects')


def describe_sizes(data: DataSet) -> str:
    """Smallest, median and largest image."""
    sizes = sorted((s.size for s in data.samples), key=lambda s: s[0] * s[1])
    middle = tuple(median(side) for side in zip(*sizes))
    small, large = sizes[0], sizes[-1]
    return (
        f'{small[0]}x{small[1]} to {large[0]}x{large[1]}, median '
        f'{middle[0]:.0f}x{middle[1]:.0f} (width x height)'
    )


def imbalance(counts: Counter) -> tuple[float, str, str] | None:
    """How often the most frequent class occurs for one of the rarest.

    Returns:
        tuple[float, str, str] | None: The ratio, the most frequent class
        and the rarest that occurs; None with fewer than two classes.
    """
    present = [pair for pair in counts.most_common() if pair[1]]
    if len(present) < 2:
        return None
    (most, high), (least, low) = present[0], present[-1]
    return high / low, most, least


def summarize(data: DataSet) -> dict[str, str]:
    """The facts that the command prints and the report begins with."""
    rows = {'format': data.format, 'task': data.task}
    for split in SPLITS:
        samples = data.of_split(split)
        if samples:
            text = f'{len(samples)} images'
            if data.task in ('detection', 'instances'):
                things = sum(len(s.things) for s in samples)
                empty = sum(not s.things for s in samples)
                text += f', {things} objects, {empty} images without any'
            rows[split] = text
    rows['classes'] = _shorten(data.classes)
    rows['sizes'] = describe_sizes(data)
    found = imbalance(count_classes(data, 'train'))
    if found:
        ratio, most, least = found
        unit = unit_of(data)
        rows['imbalance'] = (
            f'{most!r} has {ratio:.1f} times the {unit} of {least!r}'
        )
    return rows


def _shorten(names: list[str]) -> str:
    shown = ', '.join(names[:8]) + (', ...' if len(names) > 8 else '')
    return f'{len(names)} ({shown})'
