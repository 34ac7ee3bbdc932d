"""One picture of what a vHeat has learned: heat, spectrum, receptive field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from .heat import Spectrum
from .heat_pictures import draw_heat_frame
from .receptive_field import Field, add_bar, draw_field
from .style import LINE_COLORS, finish_plot, new_figure

CAPTION = (
    'Top left: heat put into the framed object and conducted by the trained '
    'network. Top right: the share of every frequency that the last block of '
    'each stage keeps, before training (dashed: nearly all) and after '
    '(solid). Below: how strongly each pixel moves the unit in the middle; '
    'half of all influence lies within the solid circle, 99 % within the '
    'dashed one.'
)


def draw_overview(
    picture: np.ndarray,
    source: np.ndarray,
    after: np.ndarray,
    title: str,
    spectra: tuple[Sequence[Spectrum], Sequence[Spectrum]],
    fields: Mapping[str, Field],
    heading: str = '',
) -> Figure:
    """Draw heat and spectrum above receptive fields.

    Args:
        picture (np.ndarray): RGB uint8 of shape (H, W, 3).
        source (np.ndarray): Heat before, (h, w).
        after (np.ndarray): Heat after, (h, w).
        title (str): Which block conducted it.
        spectra (tuple): Spectra of every stage before and after training.
        fields (Mapping[str, Field]): Receptive fields by their titles.
        heading (str): What they are fields of. Defaults to ''.
    """
    figure = new_figure(9, 6.6)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    left, right = top.subfigures(1, 2, width_ratios=(1.9, 1))
    draw_heat_frame(left, picture, source, after, title)
    _draw_spectra(right.subplots(), *spectra)
    bottom.suptitle(heading, fontsize=11)
    all_axes = np.atleast_1d(bottom.subplots(1, len(fields)))
    norm = LogNorm(1e-4, 1, clip=True)
    for axes, (name, field) in zip(all_axes, fields.items()):
        draw_field(axes, field, name, norm)
    add_bar(bottom, all_axes)
    return figure


def _draw_spectra(
    axes: Axes, before: Sequence[Spectrum], after: Sequence[Spectrum]
) -> None:
    for stage, (start, trained) in enumerate(zip(before, after)):
        color = LINE_COLORS[stage % len(LINE_COLORS)]
        axes.plot(start.w, start.decay_rings[0], '--', color=color, lw=1)
        axes.plot(
            trained.w,
            trained.decay_rings[0],
            color=color,
            lw=1.6,
            marker='os^D'[stage % 4],
            ms=3.5,
            markevery=max(1, len(trained.w) // 8),
            label=f'stage {stage + 1}',
        )
    axes.set_ylim(0, 1.05)
    axes.legend(frameon=False, fontsize=8, title='after training')
    finish_plot(
        axes,
        'what a block keeps',
        'frequency w (rad / cell)',
        'mean decay exp(-k w$^2$)',
    )
