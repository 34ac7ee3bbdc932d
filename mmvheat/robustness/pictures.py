"""Heat map of corruptions by severity; curves against severity."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from mmvheat.visualization.style import (
    COLOR_MAP,
    LINE_COLORS,
    LINE_STYLES,
    finish_plot,
    new_figure,
    save_figure,
)

from .report import METRICS, get_table
from .transforms import BENCHMARK, FILTERS


def draw_heat_map(results: Sequence[dict], metric: str, out: Path) -> None:
    """Draw a metric by corruption (rows) and severity, a panel a model.

    Args:
        results (Sequence[dict]): Results of the same tests.
        metric (str): The metric.
        out (Path): The picture.
    """
    tables = [get_table(result, metric) for result in results]
    clean = [table.pop('clean')[0] for table in tables]
    names = list(tables[0])
    severities = list(tables[0][names[0]])
    grids = [[[t[n][s] for s in severities] for n in names] for t in tables]
    norm = Normalize(0, max(np.max(grids), *clean, 1e-9))
    width = 0.8 + max(2.2, 0.55 * len(severities))
    figure = new_figure(
        1.8 + width * len(results), 1.4 + 0.3 * max(4, len(names))
    )
    panels = figure.subplots(1, len(results), squeeze=False, sharey=True)[0]
    for axes, result, grid, value in zip(panels, results, grids, clean):
        image = axes.imshow(grid, cmap=COLOR_MAP, norm=norm, aspect='auto')
        _write_values(axes, np.array(grid), norm)
        axes.set_title(
            f'{result["title"]}\nclean {_short(value)}', fontsize=10
        )
        axes.set_xticks(range(len(severities)), [f'{s:g}' for s in severities])
        axes.set_yticks(
            range(len(names)), [n.replace('_', ' ') for n in names]
        )
        axes.set_xlabel(_severity_label(names))
    figure.colorbar(image, ax=list(panels), label=METRICS[metric], shrink=0.85)
    save_figure(figure, out)


def draw_curves(results: Sequence[dict], metric: str, out: Path) -> None:
    """Draw a metric against severity, a line a model.

    Corruptions are drawn as their mean, filters apart.

    Args:
        results (Sequence[dict]): Results of the same tests.
        metric (str): The metric.
        out (Path): The picture.
    """
    tables = [get_table(result, metric) for result in results]
    names = [name for name in tables[0] if name != 'clean']
    filters = [name for name in names if name in FILTERS]
    chosen = [n for n in names if n in BENCHMARK] or names
    groups = [[name] for name in filters] or [chosen]
    figure = new_figure(4.6 * len(groups), 3.6)
    panels = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for axes, group in zip(panels, groups):
        for result, table, color, style in zip(
            results, tables, cycle(LINE_COLORS), cycle(LINE_STYLES)
        ):
            points = {
                s: fmean(table[name][s] for name in group)
                for s in table[group[0]]
            }
            clean = table['clean'][0]
            if filters:
                axes.axhline(clean, color=color, ls=style, lw=0.8, alpha=0.5)
            else:
                points = {0: clean, **points}
            axes.plot(
                list(points),
                list(points.values()),
                color=color,
                ls=style,
                marker='o',
                ms=4,
                label=result['title'],
            )
        title = (
            group[0].replace('_', ' ') + ' (thin: whole image)'
            if filters
            else f'mean of {len(group)} corruptions (0: clean)'
        )
        finish_plot(axes, title, _severity_label(group), METRICS[metric])
        if filters:
            axes.set_xscale('log', base=2)
            axes.xaxis.set_major_formatter(lambda x, _: f'{x:g}')
        else:
            axes.set_xticks(list(points))
        axes.set_ylim(bottom=0)
    panels[0].legend(frameon=False, fontsize=9)
    save_figure(figure, out)


def _severity_label(names: Sequence[str]) -> str:
    is_filter = bool({*names} & {*FILTERS})
    return 'radius (cycles per image)' if is_filter else 'severity'


def _write_values(axes: Axes, grid: np.ndarray, norm: Normalize) -> None:
    for (row, column), value in np.ndenumerate(grid):
        color = 'black' if norm(value) > 0.6 else 'white'
        axes.text(
            *(column, row, _short(value)),
            ha='center',
            va='center',
            fontsize=7,
            color=color,
        )


def _short(value: float) -> str:
    return f'{value:.2f}' if value <= 1 else f'{value:.0f}'
