"""Colours of classes."""

from __future__ import annotations

import colorsys

_DISTINCT = (
    'e6194b 3cb44b ffe119 0082c8 f58231 911eb4 46f0f0 f032e6 d2f53c fabed4 '
    '008080 dcbeff 9a6324 fffac8 800000 aaffc3 808000 ffd8b1 000075 a9a9a9'
)
_GOLDEN = 0.618034  # turns of the hue that never come near each other soon


def choose_palette(classes: list[str]) -> list[list[int]]:
    """An RGB colour from 0 to 255 for each class; 'background' is black."""
    colours = [list(bytes.fromhex(text)) for text in _DISTINCT.split()]
    for index in range(len(classes) - len(colours)):
        share = index * _GOLDEN % 1
        light = (0.95, 0.7, 0.5)[index % 3]
        rgb = colorsys.hsv_to_rgb(share, 0.75, light)
        colours.append([round(255 * value) for value in rgb])
    if classes[0] == 'background':
        colours.insert(0, [0, 0, 0])
    return colours[: len(classes)]
