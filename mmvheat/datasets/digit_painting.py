"""Paint handwritten digits on photographs: arrays in, arrays out.

Every step works on integers (Pillow resizes 8-bit images in fixed point), so
a picture does not depend on the processor that painted it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

MIN_CONTRAST = 60
"""Luma levels (0 to 255) of an ink above the photograph below it."""

DIMMING = (80, 150)
"""Range of brightness, in 256ths, that photographs are dimmed to."""

GAP = 2
"""Pixels left free around every digit."""


class PaintedDigit(NamedTuple):
    """A digit on a canvas of H x W pixels.

    ``index`` is its place in the list of digits, ``mask`` (H, W) bool says
    where its ink covers more than half of the photograph.
    """

    index: int
    mask: np.ndarray


def paint_scene(
    rng: np.random.Generator,
    photos: Sequence[np.ndarray],
    digits: np.ndarray,
    indices: Sequence[int],
    size: int,
    side_range: tuple[int, int],
) -> tuple[np.ndarray, list[PaintedDigit]]:
    """Paint digits on a random photo crop, their boxes apart.

    Args:
        rng (np.random.Generator): Source of every random choice.
        photos (Sequence[np.ndarray]): RGB photographs, (H_i, W_i, 3) uint8,
            none smaller than 64 pixels a side.
        digits (np.ndarray): (N, 8, 8) uint8, ink bright on black.
        indices (Sequence[int]): Which of the N digits to paint.
        size (int): Height and width of the picture in pixels.
        side_range (tuple[int, int]): Smallest and largest side in pixels an
            8x8 digit is scaled to. A digit that finds no room shrinks
            towards the smallest.

    Returns:
        tuple[np.ndarray, list[PaintedDigit]]: The picture, (size, size, 3)
        uint8 RGB, and one painted digit for each of ``indices``.
    """
    while True:  # a crop without room or contrast is drawn anew
        canvas = crop_photo(rng, photos, size)
        taken = np.zeros((size, size), bool)
        painted = []
        for index in indices:
            mask = _paint_digit(rng, canvas, taken, digits[index], side_range)
            if mask is None:
                break
            painted.append(PaintedDigit(int(index), mask))
        else:
            return canvas, painted


def crop_photo(
    rng: np.random.Generator, photos: Sequence[np.ndarray], size: int
) -> np.ndarray:
    """Cut a random square from a random photo and scale it up to ``size``.

    Half of the crops are mirrored; all are dimmed, so that every place is
    dark enough for bright ink. Returns (size, size, 3) uint8.
    """
    photo = photos[rng.integers(len(photos))]
    largest = min(size, *photo.shape[:2])
    side = rng.integers(largest * 11 // 20, largest + 1)
    y = rng.integers(photo.shape[0] - side + 1)
    x = rng.integers(photo.shape[1] - side + 1)
    crop = photo[y : y + side, x : x + side]
    if rng.integers(2):
        crop = crop[:, ::-1]
    brightness = rng.integers(*DIMMING)
    return (_resize(crop, size).astype(int) * brightness >> 8).astype(np.uint8)


def upscale_digit(digit: np.ndarray, side: int) -> np.ndarray:
    """Scale an 8x8 digit up to a smooth stroke.

    Args:
        digit (np.ndarray): (8, 8) uint8, ink bright on black.
        side (int): Side in pixels of the scaled 8x8 square.

    Returns:
        np.ndarray: Alpha (h, w) uint8, cut to the visible ink; the stroke is
        where it exceeds 127.
    """
    # a border of one pixel lets strokes at the edge end round
    padded = np.pad(digit, 1)
    level = _resize(padded, side * 10 // 8).astype(int)
    # steeper around the edge, but a hole in a stroke still shows through
    alpha = np.clip(level * 3 // 2 - 64, 0, 255)
    y, x, h, w = find_box(alpha > 0)
    return alpha[y : y + h, x : x + w].astype(np.uint8)


def find_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return (y, x, height, width) of the true pixels of an (H, W) mask."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return y, x, height, width


def _paint_digit(
    rng: np.random.Generator,
    canvas: np.ndarray,
    taken: np.ndarray,
    digit: np.ndarray,
    side_range: tuple[int, int],
) -> np.ndarray | None:
    """Paint one digit into ``canvas`` and block its box in ``taken``.

    Returns its mask (H, W) bool, or None where no place was found.
    """
    smallest, side = side_range
    height, width = taken.shape
    for _ in range(60):
        side = int(rng.integers(smallest, side + 1))
        alpha = upscale_digit(digit, side)
        h, w = alpha.shape
        if max(h, w) > min(height, width) - 2 * GAP:
            continue
        for _ in range(8):
            y = int(rng.integers(GAP, height - h - GAP + 1))
            x = int(rng.integers(GAP, width - w - GAP + 1))
            if taken[y - GAP : y + h + GAP, x - GAP : x + w + GAP].any():
                continue
            place = np.s_[y : y + h, x : x + w]
            ink = _choose_ink(rng, canvas[place], alpha > 127)
            if ink is None:
                continue
            opacity = alpha.astype(int) * rng.integers(218, 256) // 255
            canvas[place] = _blend(canvas[place], ink, opacity[..., None])
            taken[place] = True
            mask = np.zeros_like(taken)
            mask[place] = alpha > 127
            return mask
    return None


def _choose_ink(
    rng: np.random.Generator, below: np.ndarray, stroke: np.ndarray
) -> np.ndarray | None:
    """Draw an RGB colour brighter than the photo under a stroke."""
    high = np.percentile(_luma(below)[stroke], 90)
    for _ in range(20):
        ink = rng.integers(128, 256, 3)
        if _luma(ink) >= high + MIN_CONTRAST:
            return ink
    return None


def _luma(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(int) @ np.array([77, 150, 29]) >> 8


def _blend(
    below: np.ndarray, above: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
    """Mix two RGB arrays, ``alpha`` 0 to 255, rounded to uint8."""
    mix = below.astype(int) * (255 - alpha) + above * alpha
    return ((mix + 127) // 255).astype(np.uint8)


def _resize(image: np.ndarray, side: int) -> np.ndarray:
    resized = Image.fromarray(np.ascontiguousarray(image)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    return np.array(resized)
