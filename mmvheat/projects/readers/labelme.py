"""LabelMe: one json an image, shapes of several kinds."""

from __future__ import annotations

import base64
import io
import math

import numpy as np

from ..folder import Folder
from ..records import DataSet, Place, Thing
from .common import add_sample, choose_task, report_unlabelled
from .json_files import JsonLines, load_lists, read_ends

_CORNERS = 32  # of a circle


def find(folder: Folder) -> str:
    """Say how many json files of LabelMe there are."""
    names = folder.with_suffix('.json')
    for name in names[:8]:
        if b'"shapes"' in read_ends(folder.full(name)):
            return f'LabelMe json ({len(names)} files)'
    return ''


def read(folder: Folder) -> DataSet:
    """Read all json files of a folder."""
    samples = {}
    for name in folder.with_suffix('.json'):
        content = load_lists(folder, name, 'shapes')
        if content is None:
            continue
        asked = str(content.get('imagePath') or '')
        sample = add_sample(samples, folder, name, asked)
        if sample is None:
            continue
        sample.size = (content.get('imageWidth'), content.get('imageHeight'))
        lines = JsonLines(folder, name, 'shapes')
        sample.things = _read_things(folder, content, lines)
    report_unlabelled(folder, samples, 'it has no json')
    things = [t for s in samples.values() for t in s.things]
    _share_rectangles(things)
    return folder.data_set(
        'LabelMe json',
        choose_task(folder, things),
        sorted({thing.name for thing in things}),
        list(samples.values()),
    )


def _read_things(
    folder: Folder, content: dict, lines: JsonLines
) -> list[Thing]:
    """The objects of an image; shapes of one group are one object."""
    things, groups = [], {}
    size = (content.get('imageWidth'), content.get('imageHeight'))
    for index, shape in enumerate(content['shapes']):
        place = lines.place(index)
        try:
            thing = _read_shape(shape, size, place)
        except (KeyError, TypeError, ValueError, OSError) as error:
            folder.report('broken shape', place, f'{error}', 'object left out')
            continue
        if thing is None:
            kind = shape.get('shape_type')
            folder.report(
                'shape that is no area',
                place,
                f'{shape.get("label")!r} is a {kind} of '
                f'{len(shape["points"])} points',
                'object left out',
            )
            continue
        first, group = thing, shape.get('group_id')
        if group is not None:  # of whatever type
            first = groups.setdefault((repr(group), thing.name), thing)
        joins = isinstance(first.shape, list) and isinstance(thing.shape, list)
        if first is not thing and joins:
            first.shape += thing.shape
        else:
            things.append(thing)
    return things


def _read_shape(shape: dict, size: tuple, place: Place) -> Thing | None:
    """A thing, None for a shape that has no area."""
    name, points = str(shape['label']).strip(), shape['points']
    kind = shape.get('shape_type') or 'polygon'
    points = [(float(x), float(y)) for x, y in points]
    if kind == 'polygon':
        outline = [number for point in points for number in point]
        return Thing(name, place, None, [outline])
    if kind in ('rectangle', 'mask'):
        (left, top), (right, bottom) = (
            [pick(point[i] for point in points) for i in (0, 1)]
            for pick in (min, max)
        )
        box = (left, top, right - left, bottom - top)
        mask = None
        if kind == 'mask':
            mask = _place_mask(shape['mask'], (left, top), size)
        return Thing(name, place, box, mask)
    if kind == 'circle':
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        outline = []
        for step in range(_CORNERS):
            angle = 2 * math.pi * step / _CORNERS
            outline += [
                x + radius * math.cos(angle),
                y + radius * math.sin(angle),
            ]
        return Thing(name, place, None, [outline])
    return None


def _place_mask(text: str, corner: tuple, size: tuple) -> dict:
    """Put the PNG of a mask into its image, as a run-length code."""
    from PIL import Image
    from pycocotools import mask as coco

    part = np.array(Image.open(io.BytesIO(base64.b64decode(text)))) > 0
    width, height = size
    whole = np.zeros((height, width), np.uint8, order='F')
    x, y = (round(value) for value in corner)
    part = part[: height - y, : width - x]
    whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    code = coco.encode(whole)
    return dict(size=code['size'], counts=code['counts'].decode())


def _share_rectangles(things: list[Thing]) -> None:
    """Where others have outlines, those of rectangles are their corners."""
    if any(thing.shape for thing in things):
        for thing in things:
            if thing.shape is None:
                x, y, w, h = thing.box
                thing.shape = [[x, y, x + w, y, x + w, y + h, x, y + h]]
