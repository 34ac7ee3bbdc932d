"""A picture of what the benchmark measured."""

from __future__ import annotations

from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator

from benchmark.report import make_title, split_panels
from mmvheat.visualization.curves import COLORS


def draw_speed(report: dict) -> Figure:
    """Draw time against resolution.

    Of a CPU relative to the peer at its smallest image, else in
    milliseconds.
    """
    panels = split_panels(report)
    modes, dtypes = (list(dict.fromkeys(keys)) for keys in zip(*panels))
    figure = Figure(
        figsize=(max(7.5, 4.6 * len(dtypes)), 3.6 * len(modes) + 0.6),
        layout='constrained',
        dpi=120,
    )
    axes = figure.subplots(len(modes), len(dtypes), squeeze=False)
    handles = {}
    for (mode, dtype), rows in panels.items():
        unit, label = 1.0, 'time an image (ms)'
        if report['device'] == 'cpu':
            unit, label = _find_unit(rows), 'time an image (relative)'
        axis = axes[modes.index(mode), dtypes.index(dtype)]
        _draw_panel(axis, rows, unit)
        axis.set_title(make_title(mode, dtype), fontweight='bold')
        axis.set(xlabel='image', ylabel=label)
        handles.update(zip(*reversed(axis.get_legend_handles_labels())))
    figure.legend(
        handles.values(),
        handles.keys(),
        loc='outside lower center',
        ncols=2 if max(map(len, handles)) > 30 else 4,
        frameon=False,
    )
    return figure


def _find_unit(rows: list[dict]) -> float:
    """Find the time of an image of the smallest size, of the peer if any."""
    row = min(rows, key=lambda r: (r['model'] != r['peer'], r['pixels']))
    return row['ms'] / row['batch']


def _draw_panel(axis: Axes, rows: list[dict], unit: float) -> None:
    """Draw a line for every model, both axes logarithmic."""
    models = dict.fromkeys(row['model'] for row in rows)
    for i, (model, color) in enumerate(zip(models, cycle(COLORS))):
        points = sorted(
            (row['pixels'], row['ms'] / row['batch'] / unit)
            for row in rows
            if row['model'] == model
        )
        axis.plot(
            *zip(*points),
            color=color,
            marker='os^Dv'[i // len(COLORS) % 5],
            ls='-' if i < len(COLORS) else '--',
            ms=4,
            lw=1.6,
            label=model,
        )
    ticks = {row['pixels']: row['size'].split('x', 1)[1] for row in rows}
    axis.set_xscale('log')
    axis.set_yscale('log')
    axis.set_xticks(list(ticks), list(ticks.values()), rotation=30)
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FormatStrFormatter('%g'))
    axis.grid(alpha=0.25)
    axis.spines[['top', 'right']].set_visible(False)
