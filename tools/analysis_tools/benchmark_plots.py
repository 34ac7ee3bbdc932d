"""Pictures of what ``benchmark.py`` measured."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import cycle
from typing import Optional

from benchmark_report import GB, find_panels, make_title
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator

from mmvheat.visualization.curves import COLORS

Getter = Callable[[dict], Optional[float]]


def draw_speed(report: dict) -> bytes:
    """Draw time against resolution as a PNG.

    Of a CPU relative to the peer at its smallest image, else in
    milliseconds.
    """

    def get(row: dict) -> float | None:
        return row['ms'] / row['batch'] / units[row['mode'], row['dtype']]

    units = dict.fromkeys(find_panels(report), 1.0)
    label = 'time an image (ms)'
    if report['device'] == 'cpu':
        label = 'time an image (relative)'
        for panel in units:
            units[panel] = _find_unit(report, panel)
    return _draw(report, get, label)


def draw_memory(report: dict) -> bytes | None:
    """Draw peak memory against resolution as a PNG; None without data."""
    if not any(row['peak_memory'] for row in report['results']):
        return None

    def get(row: dict) -> float | None:
        memory = row['peak_memory']
        return memory and memory / row['batch'] / GB

    return _draw(report, get, 'peak memory an image (GB)')


def _find_unit(report: dict, panel: tuple[str, str]) -> float:
    """Find the time of an image of the smallest size, of the peer if any."""
    rows = [r for r in report['results'] if (r['mode'], r['dtype']) == panel]
    rows.sort(key=lambda r: (r['model'] != report['peer'], r['pixels']))
    return rows[0]['ms'] / rows[0]['batch']


def _draw(report: dict, get: Getter, label: str) -> bytes:
    panels = find_panels(report)
    models = list(dict.fromkeys(r['model'] for r in report['results']))
    modes = list(dict.fromkeys(mode for mode, _ in panels))
    dtypes = list(dict.fromkeys(dtype for _, dtype in panels))
    figure = Figure(
        figsize=(max(7.5, 4.6 * len(dtypes)), 3.6 * len(modes) + 0.6),
        layout='constrained',
    )
    axes = figure.subplots(len(modes), len(dtypes), squeeze=False)
    for mode, line in zip(modes, axes):
        for dtype, axis in zip(dtypes, line):
            rows = [
                row
                for row in report['results']
                if (row['mode'], row['dtype']) == (mode, dtype)
            ]
            _draw_panel(axis, rows, models, get)
            axis.set_title(make_title(mode, dtype), fontweight='bold')
            axis.set_xlabel('image')
            axis.set_ylabel(label)
    handles = {}
    for axis in figure.axes:
        handles.update(zip(*reversed(axis.get_legend_handles_labels())))
    figure.legend(
        handles.values(),
        handles.keys(),
        loc='outside lower center',
        ncols=2 if max(map(len, handles)) > 30 else 4,
        frameon=False,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=120)
    return buffer.getvalue()


def _draw_panel(
    axis: Axes, rows: list[dict], models: list[str], get: Getter
) -> None:
    """Draw a line for every model, both axes logarithmic."""
    ticks = {}
    for i, (model, color) in enumerate(zip(models, cycle(COLORS))):
        points = sorted(
            (row['pixels'], get(row))
            for row in rows
            if row['model'] == model and get(row)
        )
        if not points:
            continue
        axis.plot(
            *zip(*points),
            color=color,
            marker='os^Dv'[i // len(COLORS) % 5],
            ls='-' if i < len(COLORS) else '--',
            ms=4,
            lw=1.6,
            label=model,
        )
    for row in rows:
        ticks[row['pixels']] = row['size'].split('x', 1)[1]
    axis.set_xscale('log')
    axis.set_yscale('log')
    axis.set_xticks(list(ticks), list(ticks.values()), rotation=30)
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FormatStrFormatter('%g'))
    axis.grid(alpha=0.25)
    axis.spines[['top', 'right']].set_visible(False)
