"""What a restorer did to an image, beside what it should have done."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from .style import new_figure, show_image, show_map

GRAY_LEVELS = 40
"""Differences of so many gray levels of 255, and more, are brightest."""


def draw_restoration(
    degraded: np.ndarray,
    restored: np.ndarray,
    clean: np.ndarray | None = None,
    titles: tuple[str, ...] = ('degraded', 'restored', 'clean'),
) -> Figure:
    """Draw degraded, restored and clean image, and the difference.

    Args:
        degraded (np.ndarray): (H, W, C) in 0 to 255, RGB or gray; smaller
            than the others in super-resolution.
        restored (np.ndarray): (H, W, C).
        clean (np.ndarray, optional): (H, W, C). Defaults to None: then the
            difference is that of the other two.
        titles (tuple[str]): Above the images.

    Returns:
        Figure: Three panels, or four.
    """
    images = [degraded, restored] + ([] if clean is None else [clean])
    other = degraded if clean is None else clean
    height, width = restored.shape[:2]
    columns = len(images) + 1
    figure = new_figure(3.2 * columns + 0.6, 3.2 * height / width + 0.4)
    all_axes = figure.subplots(1, columns)
    for axes, image, title in zip(all_axes, images, titles):
        _show(axes, image, title)
    axes = all_axes[-1]
    title = '|restored - clean|'
    if clean is None:
        title = '|restored - degraded|'
    if other.shape == restored.shape:
        difference = np.abs(restored.astype(float) - other).mean(-1)
        norm = Normalize(0, GRAY_LEVELS, clip=True)
        show_map(axes, difference, title, unit='gray levels', norm=norm)
    else:
        axes.axis('off')
    return figure


def _show(axes: Axes, image: np.ndarray, title: str) -> None:
    image = image.round().clip(0, 255).astype(np.uint8)
    if image.shape[-1] == 1:
        image = image.repeat(3, -1)
    show_image(axes, image, title)
