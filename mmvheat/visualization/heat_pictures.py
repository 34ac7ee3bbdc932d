"""Pictures and films of heat conduction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from prettytable import PrettyTable

from mmvheat.models import vHeat, vHeatIR

from .heat import Spectrum, conduct, place_heat, predict_k
from .style import (
    COLOR_MAP,
    LINE_COLORS,
    LINE_STYLES,
    finish_plot,
    new_figure,
    show_image,
    show_map,
)

SOURCE_CAPTION = (
    'Heat put where the white frame is and conducted once: with the same k '
    'for every frequency it spreads as on a metal plate, with the predicted k '
    'as the network has learned to spread it, in waves far over the image '
    '(their sign is left out); the curves cut through the hottest row.'
)
SPECTRUM_CAPTION = (
    'k and the decay exp(-k w^2) over the frequency plane, from slow changes '
    '(w = 0, kept) to fast ones: where the decay is near 0 the block smooths '
    'that detail away, where it is near 1 it keeps it; bands are quartiles '
    'over the channels.'
)
SIZES_CAPTION = (
    'Mean k and decay against frequency for several image sizes: the '
    'embeddings are resized to the features, so that curves on top of each '
    'other mean the same smoothing in cells.'
)

_UNIT = '|share of the heat| per cell'
_DECADES = 1e-4


@dataclass(frozen=True)
class Conduction:
    """A source conducted by one block, and by a constant k.

    Attributes:
        title (str): Which block.
        source (np.ndarray): Heat before, (H, W).
        constant (np.ndarray): After conduction by the constant, (H, W).
        predicted (np.ndarray): After that by the predicted k, (H, W).
        k (float): The constant.
        predicted_k (np.ndarray, optional): The predicted k, (H, W, C).
    """

    title: str
    source: np.ndarray
    constant: np.ndarray
    predicted: np.ndarray
    k: float
    predicted_k: np.ndarray | None = None


def conduct_heat_of(
    picture: np.ndarray,
    backbone: vHeat | vHeatIR,
    blocks: Sequence[tuple[int, int]],
    *,
    pixel: tuple[int, int] | None = None,
    channels: Sequence[int] = (),
    k: float | None = None,
) -> list[Conduction]:
    """Let heat spread from a picture's brightest object, or from a pixel.

    Args:
        picture (np.ndarray): RGB uint8 of shape (H, W, 3).
        backbone (vHeat | vHeatIR): What conducts.
        blocks (Sequence[tuple[int, int]]): Of :func:`.heat.choose_blocks`.
        pixel (tuple[int, int], optional): Column x and row y.
        channels (Sequence[int]): Channels from 0. Defaults to all.
        k (float, optional): The constant to compare with. Defaults to None,
            the mean of the predicted k.
    """
    size, found = picture.shape[:2], []
    for stage, block in blocks:
        own = predict_k(backbone, size, stage - 1, block - 1, channels)
        title = f'stage {stage}, block {block}'
        if channels:
            title += f', channels {" ".join(map(str, channels))}'
        source = place_heat(picture, own.shape[:2], pixel)
        constant = float(own.mean()) if k is None else k
        after = (conduct(source, value)[0] for value in (constant, own))
        found.append(Conduction(title, source, *after, constant, own))
    return found


def draw_conductions(
    picture: np.ndarray, conductions: Sequence[Conduction]
) -> Figure:
    """Draw temperature by constant and by predicted k, a row a block.

    Args:
        picture (np.ndarray): RGB uint8 of shape (H, W, 3).
        conductions (Sequence[Conduction]): The rows.
    """
    figure = new_figure(12, 2.9 * len(conductions))
    rows = figure.subplots(len(conductions), 4, squeeze=False)
    for (left, middle, right, plot), row in zip(rows, conductions):
        show_image(left, picture, f'{row.title}: source')
        _frame_source(left, row.source, picture.shape[:2])
        constant, predicted = np.abs(row.constant), np.abs(row.predicted)
        norm = heat_norm(np.stack([constant, predicted]))
        hottest = np.unravel_index(predicted.argmax(), predicted.shape)[0]
        name = f'constant k = {row.k:.3g}'
        show_map(middle, constant, name, unit=_UNIT, norm=norm)
        show_map(right, predicted, 'predicted k', unit=_UNIT, norm=norm)
        for label, values, style in (
            ('constant k', constant, '--'),
            ('predicted k', predicted, '-'),
        ):
            plot.plot(
                values[hottest], style, color='black', lw=1.3, label=label
            )
        plot.set_yscale('log')
        plot.set_ylim(norm.vmin, norm.vmax * 50)
        plot.legend(frameon=False, fontsize=8, loc='upper right', ncols=2)
        finish_plot(plot, 'hottest row', 'column (cells)', _UNIT)
    return figure


def draw_spectra(
    spectra: Sequence[Sequence[Spectrum]], title: str = ''
) -> Figure:
    """Draw k and decay of every stage and block.

    Args:
        spectra (Sequence[Sequence[Spectrum]]): Of every stage, of every
            block. The planes and the bands are those of the last block.
        title (str): Above all. Defaults to ''.
    """
    figure = new_figure(13, 2.9 * len(spectra))
    # Labels of the left column need more room than the layout leaves them.
    if figure.get_layout_engine():
        figure.get_layout_engine().set(rect=(0.015, 0, 0.985, 1))
    figure.suptitle(title)
    rows = figure.subplots(len(spectra), 4, squeeze=False)
    for number, (axes, blocks) in enumerate(zip(rows, spectra), 1):
        last = blocks[-1]
        name = f'stage {number}, block {len(blocks)}'
        for plane, values, label in (
            (axes[0], last.k, 'mean k (cells$^2$)'),
            (axes[1], last.decay, 'mean decay'),
        ):
            _show_plane(plane, values, f'{name}', label)
        for plot, attribute, label in (
            (axes[2], 'k_rings', 'k (cells$^2$)'),
            (axes[3], 'decay_rings', 'decay exp(-k w$^2$)'),
        ):
            _draw_rings(plot, blocks, attribute)
            finish_plot(
                plot, f'stage {number}, all blocks', 'w (rad / cell)', label
            )
    return figure


def draw_sizes(
    spectra: Mapping[str, Sequence[Sequence[Spectrum]]],
) -> Figure:
    """Draw how k and the decay of every stage depend on the image size.

    Args:
        spectra (Mapping): From the name of a size to the spectra of every
            stage, of every block. The last block of a stage is drawn.
    """
    count = max(len(stages) for stages in spectra.values())
    figure = new_figure(3.2 * count, 5.6)
    columns = figure.subplots(2, count, squeeze=False).T
    for number, axes in enumerate(columns):
        for plot, attribute, label in (
            (axes[0], 'k_rings', 'mean k (cells$^2$)'),
            (axes[1], 'decay_rings', 'mean decay'),
        ):
            for i, (name, stages) in enumerate(spectra.items()):
                last = stages[number][-1]
                plot.plot(
                    last.w,
                    getattr(last, attribute)[0],
                    color=LINE_COLORS[i % len(LINE_COLORS)],
                    ls=LINE_STYLES[i % len(LINE_STYLES)],
                    lw=1.4,
                    label=name,
                )
            finish_plot(
                plot,
                f'stage {number + 1}, last block',
                'w (rad / cell)',
                label,
            )
    columns[0][0].legend(frameon=False, fontsize=8, title='image')
    return figure


def tabulate_spectra(
    spectra: Mapping[str, Sequence[Sequence[Spectrum]]],
) -> PrettyTable:
    """Tabulate the spectra that :func:`draw_sizes` draws, of every block."""
    table = PrettyTable(
        ['image', 'stage', 'block', 'mean k (cells^2)']
        + ['half-decay w (rad/cell)', 'half-decay radius (cells)']
        + ['energy that survives (%)'],
        align='r',
    )
    for size, stages in spectra.items():
        for stage, blocks in enumerate(stages, 1):
            for block, found in enumerate(blocks, 1):
                half = ['never', 'none']
                if np.isfinite(found.half_decay):
                    half = [found.half_decay, found.half_decay_cells]
                    half = [f'{value:.2f}' for value in half]
                table.add_row(
                    [size, stage, block, f'{found.k.mean():.3f}', *half]
                    + [f'{100 * found.energy:.1f}']
                )
    return table


def draw_heat_frame(
    figure: Figure | SubFigure,
    picture: np.ndarray,
    source: np.ndarray,
    after: np.ndarray,
    title: str,
) -> Axes:
    """Draw a picture with the source beside the heat after conduction.

    Args:
        figure (Figure | SubFigure): An empty one.
        picture (np.ndarray): RGB uint8 of shape (H, W, 3).
        source (np.ndarray): Heat before, (h, w).
        after (np.ndarray): Heat after, (h, w).
        title (str): Which block conducts.

    Returns:
        Axes: Those of the heat.
    """
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    figure.suptitle(title, fontsize=11)
    show_image(left, picture, 'source')
    _frame_source(left, source, picture.shape[:2])
    norm = heat_norm(after)
    show_map(right, np.abs(after), 'heat', unit=_UNIT, norm=norm)
    return right


# --- helpers --------------------------------------------------------------


def heat_norm(values: np.ndarray) -> LogNorm:
    """Colours over four decades; what is colder looks like the coldest."""
    hottest = float(np.abs(values).max())
    return LogNorm(hottest * _DECADES, hottest, clip=True)


def _frame_source(
    axes: Axes, source: np.ndarray, size: tuple[int, int]
) -> None:
    """Draw a frame around the cells of a plate that hold the heat."""
    inside = source > source.max() / 100
    rows, columns = (np.flatnonzero(inside.any(1 - i)) for i in (0, 1))
    height = size[0] / source.shape[0]
    width = size[1] / source.shape[1]
    corner = (columns[0] * width - 0.5, rows[0] * height - 0.5)
    sides = (np.ptp(columns) + 1) * width, (np.ptp(rows) + 1) * height
    for color, line in (('black', 3.0), ('white', 1.4)):
        axes.add_patch(
            Rectangle(corner, *sides, fill=False, ec=color, lw=line)
        )


def _show_plane(axes: Axes, values: np.ndarray, title: str, unit: str) -> None:
    show_map(
        axes,
        values,
        title,
        unit=unit,
        extent=(0, np.pi, 0, np.pi),
        origin='lower',
        aspect='equal',
    )
    axes.set(xlabel='w along a row', ylabel='w along a column')
    ticks = (0, np.pi / 2, np.pi)
    labels = ('0', r'$\pi/2$', r'$\pi$')
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)


def _draw_rings(
    axes: Axes, blocks: Sequence[Spectrum], attribute: str
) -> None:
    """Draw the mean of every block, dark to light, the last in black."""
    colors = colormaps[COLOR_MAP](np.linspace(0.75, 0.25, len(blocks)))
    for number, (block, color) in enumerate(zip(blocks, colors), 1):
        is_last = number == len(blocks)
        named = len(blocks) <= 3 or is_last or number == 1
        axes.plot(
            block.w,
            getattr(block, attribute)[0],
            color='black' if is_last else color,
            ls='-' if is_last else LINE_STYLES[1 + number % 3],
            lw=1.6 if is_last else 1.1,
            label=f'block {number}' if named else None,
        )
    low, _, high = getattr(blocks[-1], attribute)[1:]
    axes.fill_between(blocks[-1].w, low, high, color='black', alpha=0.15)
    axes.legend(frameon=False, fontsize=8)
