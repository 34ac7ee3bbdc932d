"""Repair or leave out objects and label maps that do not fit their image."""

from __future__ import annotations

import math
import os.path as osp

from mmvheat.errors import UserError

from .records import DataSet, Findings, Sample, Shape, Thing

_FAR = 10  # images: pycocotools takes memory for every pixel of an edge


def clean(data: DataSet) -> None:
    """Make labels fit the images, whose sizes are known by now."""
    for sample in data.samples:
        if data.in_shares:
            _to_pixels(sample)
        sample.things = [
            thing
            for thing in sample.things
            if _clean_thing(thing, sample, data.findings)
        ]
    data.in_shares = False
    if data.maps:
        data.samples = [s for s in data.samples if _check_map(s, data)]
    used = {t.name for s in data.samples for t in s.things}
    if data.task in ('detection', 'instances'):
        # Objects without a name were left out above.
        data.classes = [name for name in data.classes if name]
        for name in data.classes:
            if name not in used:
                data.findings.add(
                    'class without objects',
                    data.root,
                    f'{name!r} occurs nowhere',
                    'kept, it cannot be learnt',
                )


def keep_outlines(data: DataSet) -> None:
    """Leave out objects that a model of masks cannot learn.

    Raises:
        UserError: That would be all of them.
    """
    if not any(t.shape for s in data.samples for t in s.things):
        raise UserError(
            f'The objects of {data.root} have boxes alone, no outlines; '
            'leave --model out, or take faster-rcnn.'
        )
    for sample in data.samples:
        for thing in sample.things:
            if thing.shape is None and not thing.crowd:
                data.findings.add(
                    'object without outline',
                    thing.place,
                    f'{thing.name!r} has a box alone',
                    'object left out',
                )
        sample.things = [t for t in sample.things if t.shape is not None]


def _to_pixels(sample: Sample) -> None:
    width, height = sample.size
    for thing in sample.things:
        if thing.box:
            x, y, w, h = thing.box
            thing.box = (x * width, y * height, w * width, h * height)
        if thing.shape:
            thing.shape = [
                [v * (height if i % 2 else width) for i, v in enumerate(p)]
                for p in thing.shape
            ]


def _clean_thing(thing: Thing, sample: Sample, findings: Findings) -> bool:
    """Repair an object; False if it must be left out."""

    def leave_out(kind: str, what: str) -> bool:
        findings.add(kind, thing.place, what, 'object left out')
        return False

    if not thing.name:
        return leave_out('object without class', 'its name is empty')
    if isinstance(thing.shape, list):
        whole = [p for p in thing.shape if _is_polygon(p)]
        if len(whole) < len(thing.shape):
            points = min(
                len(p) // 2 if isinstance(p, list) else 0 for p in thing.shape
            )
            findings.add(
                'polygon of fewer than 3 points',
                thing.place,
                f'{thing.name!r} has one of {points} points',
                'polygon left out',
            )
            if not whole:
                return leave_out('object without area', 'no polygon is left')
        thing.shape = whole
        far = max(abs(value) for polygon in whole for value in polygon)
        if far > _FAR * max(sample.size):
            return leave_out(
                'outline far outside the image',
                f'{thing.name!r} reaches as far as {far:.5g} pixels',
            )
    elif isinstance(thing.shape, dict):
        size, wanted = thing.shape.get('size'), list(sample.size[::-1])
        if list(size or ()) != wanted:
            return leave_out(
                'mask of another size',
                f'{size} for an image of {wanted} (H, W)',
            )
    if thing.shape and not thing.box:
        try:
            thing.box = _box_of(thing.shape)
        except (TypeError, ValueError, KeyError) as error:
            return leave_out('broken mask', f'{thing.name!r}: {error}')
    box = thing.box
    if not box or len(box) != 4 or not all(_is_number(v) for v in box):
        return leave_out('object without box', f'{thing.name!r} has {box}')
    x, y, w, h = map(float, box)
    width, height = sample.size
    left, top = min(max(x, 0), width), min(max(y, 0), height)
    right, bottom = min(max(x + w, 0), width), min(max(y + h, 0), height)
    text = f'x {x:.5g}, y {y:.5g}, width {w:.5g}, height {h:.5g}'
    if w <= 0 or h <= 0:
        return leave_out('box without area', text)
    outside = max(left - x, top - y, x + w - right, y + h - bottom)
    if right - left < 1 or bottom - top < 1:
        if outside < 1:
            return leave_out('box smaller than a pixel', text)
        return leave_out(
            'box outside the image', f'{text} in an image {width}x{height}'
        )
    if outside > 1:  # a rounded coordinate is no fault
        findings.add(
            'box outside the image',
            thing.place,
            f'{text} in an image {width}x{height}',
            'cut at the border',
        )
    thing.box = tuple(
        round(v, 2) for v in (left, top, right - left, bottom - top)
    )
    thing.area = thing.box[2] * thing.box[3]
    if thing.shape:
        try:
            thing.area = _count_pixels(thing.shape, sample.size)
        except (TypeError, ValueError, KeyError) as error:
            return leave_out('broken mask', f'{thing.name!r}: {error}')
        if not thing.area:
            return leave_out('object without area', 'its mask has no pixel')
    return True


def _count_pixels(shape: Shape, size: tuple[int, int]) -> float:
    from pycocotools import mask as coco  # there with mmdet alone

    return float(coco.area(_as_code(shape, size)))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_polygon(polygon: object) -> bool:
    """Three points or more, none of them missing half."""
    return (
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(map(_is_number, polygon))
    )


def _box_of(shape: Shape) -> tuple[float, float, float, float]:
    from pycocotools import mask as coco

    if isinstance(shape, dict):
        return tuple(map(float, coco.toBbox(_as_code(shape))))
    xs = [x for polygon in shape for x in polygon[::2]]
    ys = [y for polygon in shape for y in polygon[1::2]]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _as_code(shape: Shape, size: tuple[int, int] = (0, 0)) -> dict:
    """The compressed code of an outline; polygons need the image's size.

    Raises:
        ValueError: The runs of a code are not all pixels of its image.
    """
    from pycocotools import mask as coco

    if isinstance(shape, list):
        return coco.merge(coco.frPyObjects(shape, size[1], size[0]))
    counts, (height, width) = shape['counts'], shape['size']
    runs = counts if isinstance(counts, list) else _runs_of(counts)
    # pycocotools leaves memory as it is where no run reaches.
    if min(runs, default=0) < 0:
        raise ValueError(f'a run of {min(runs)} pixels')
    if sum(runs) != height * width:
        raise ValueError(
            f'its runs are {sum(runs)} pixels, expected are {height * width}'
        )
    if isinstance(counts, list):
        return coco.frPyObjects(shape, height, width)
    return shape


def _runs_of(counts: str | bytes) -> list[int]:
    """The lengths of the runs in a compressed code, as COCO's rleFrString.

    Five bits a character, least first; from the fourth on, a run is written
    as its difference from the last but one.
    """
    runs, value, shift = [], 0, 0
    for byte in counts.encode() if isinstance(counts, str) else counts:
        bits = byte - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last character of this number
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _check_map(sample: Sample, data: DataSet) -> bool:
    """Whether a label map has the size of its image, or its shape."""
    width, height = data.maps.scans[sample.label_map].size
    if (width, height) == sample.size:
        return True
    image = f'{"x".join(map(str, sample.size))} ({osp.basename(sample.path)})'
    ratio = width * sample.size[1] / (height * sample.size[0])
    same = abs(ratio - 1) < 0.01
    data.findings.add(
        'mask of another size',
        sample.place,
        f'{width}x{height} for an image of {image}',
        'scaled to the image, by the nearest pixel' if same else 'left out',
    )
    return same
