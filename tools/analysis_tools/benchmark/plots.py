"""A picture of what the benchmark measured."""

from __future__ import annotations

import math
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator

from benchmark.report import split_panels
from mmvheat.analysis.tables import make_title
from mmvheat.visualization.curves import COLORS
from mmvheat.visualization.style import finish_plot, new_figure


def draw_speed(report: dict) -> Figure:
    """Draw time against resolution, of a CPU relative to the peer."""
    panels = split_panels(report)
    modes = len({mode for mode, _ in panels})
    dtypes = math.ceil(len(panels) / modes)
    figure = new_figure(max(7.5, 4.6 * dtypes), 3.6 * modes + 0.6)
    axes = figure.subplots(modes, dtypes, squeeze=False).T.flat
    handles = {}
    for axis, ((mode, dtype), rows) in zip(axes, panels.items()):
        unit, label = 1.0, 'time an image (ms)'
        if report['device'] == 'cpu':
            # That of the smallest size, of the peer if it ran.
            row = min(
                rows, key=lambda r: (r['model'] != r['peer'], r['pixels'])
            )
            unit, label = row['ms'] / row['batch'], 'time an image (relative)'
        _draw_panel(axis, rows, unit)
        finish_plot(axis, make_title(mode, dtype), 'image', label)
        handles.update(zip(*reversed(axis.get_legend_handles_labels())))
    figure.legend(
        handles.values(),
        handles.keys(),
        loc='outside lower center',
        ncols=3,
        frameon=False,
    )
    return figure


def _draw_panel(axis: Axes, rows: list[dict], unit: float) -> None:
    """Draw a line for every model, both axes logarithmic."""
    models = dict.fromkeys(row['model'] for row in rows)
    for model, color in zip(models, cycle(COLORS)):
        points = sorted(
            (row['pixels'], row['ms'] / row['batch'] / unit)
            for row in rows
            if row['model'] == model
        )
        style = 'o--' if model.endswith('+compile') else 'o-'
        axis.plot(*zip(*points), style, color=color, ms=4, lw=1.6, label=model)
    ticks = {row['pixels']: row['size'].split('x', 1)[1] for row in rows}
    axis.set(xscale='log', yscale='log')
    axis.set_xticks(list(ticks), list(ticks.values()), rotation=30)
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FormatStrFormatter('%g'))
