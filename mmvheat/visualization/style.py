"""How all pictures look: one colour map, colour bars with units, 2x files."""

from __future__ import annotations

from pathlib import Path
from typing import Union

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mmvheat.checkpoint.writer import replace_file

COLOR_MAP = 'inferno'
"""Its lightness rises from end to end, so that it reads in grey as well."""

FORMATS = ('png', 'svg', 'pdf')
LINE_COLORS = ('#000000', '#1f5fa8', '#d9662b', '#7a7a7a', '#3a8a4d')
LINE_STYLES = ('-', '--', '-.', ':')
_DPI = 200  # twice the 100 dots per inch that sizes are meant for
_LAYOUT = 'constrained'

PathLike = Union[str, Path]


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches, drawn without a screen."""
    return Figure(figsize=(width, height), layout=_LAYOUT)


def show_image(axes: Axes, image: np.ndarray, title: str = '') -> None:
    """Draw a picture (H, W, 3) without axes."""
    axes.imshow(image, interpolation='nearest')
    axes.set_title(title, fontsize=10)
    axes.axis('off')


def show_map(
    axes: Axes,
    values: np.ndarray,
    title: str = '',
    *,
    unit: str = '',
    norm: Normalize | None = None,
    bar: bool = True,
    **options,
) -> None:
    """Draw a map (H, W) in the one colour map, with a colour bar.

    Args:
        axes (Axes): Where.
        values (np.ndarray): Shape (H, W).
        title (str): Above it. Defaults to ''.
        unit (str): What the colour bar counts. Defaults to ''.
        norm (Normalize, optional): From values to colours. Defaults to None,
            linear.
        bar (bool): Whether there is a colour bar. Defaults to True.
        **options: For ``imshow``, such as ``extent``.
    """
    options = {'interpolation': 'nearest', **options}
    image = axes.imshow(values, cmap=COLOR_MAP, norm=norm, **options)
    axes.set_title(title, fontsize=10)
    if 'extent' not in options:
        axes.axis('off')
    if bar:
        axes.figure.colorbar(image, ax=axes, label=unit, shrink=0.85)


def finish_plot(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Give a plot its labels, a grid and no box."""
    axes.set_title(title, fontsize=10)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.25)
    axes.spines[['top', 'right']].set_visible(False)


def colorize(values: np.ndarray) -> np.ndarray:
    """Turn values in [0, 1] into colours, RGB uint8 of shape (..., 3)."""
    return (colormaps[COLOR_MAP](values)[..., :3] * 255).round().astype('u1')


def render(figure: Figure) -> np.ndarray:
    """Draw a figure at 100 dots per inch, RGB uint8 of shape (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_figure(figure: Figure, path: PathLike) -> None:
    """Write a figure whole or not at all; its folder is made.

    Args:
        figure (Figure): The figure.
        path (str | Path): The file; its ending, of :data:`FORMATS`, decides
            on the format. PNG has 200 dots per inch.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as partial:
        figure.savefig(partial, format=path.suffix[1:], dpi=_DPI)
