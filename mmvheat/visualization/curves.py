"""Learning curves drawn from the logs mmengine leaves in a work dir."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Union

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

HEADLINES = {
    'coco/bbox_mAP': 'box mAP',
    'coco/segm_mAP': 'mask mAP',
    'mIoU': 'mIoU (%)',
    'accuracy/top1': 'top-1 (%)',
}
"""Metrics drawn where a log has them, and their names in the picture; a log
without any of them gets all of its metrics drawn."""

COLORS = ('#1f5fa8', '#d9662b', '#3a8a4d', '#8a4f9e', '#7a6a4f')
STYLES = ('-', '--', ':', '-.')
NO_METRIC = ('step', 'time', 'data_time', 'lr', 'base_lr', 'memory')

PathLike = Union[str, Path]


@dataclass
class TrainingLog:
    """What a run logged, over all its resumptions.

    Attributes:
        losses (list[tuple[int, float]]): (iteration, total loss).
        metrics (dict[str, list[tuple[int, float]]]): (step, value) of every
            validation metric, the step counted in ``unit``.
        unit (str): 'epoch' or 'iteration'.
    """

    losses: list[tuple[int, float]] = field(default_factory=list)
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    unit: str = 'iteration'


def read_training_log(path: PathLike) -> TrainingLog:
    """Read the scalars of a work dir or of one ``scalars.json``.

    A work dir has one log per start. Where a later one repeats iterations
    of an earlier one (the run was resumed or started over), it replaces
    them. A line cut off by a crash is left out.

    Raises:
        FileNotFoundError: If there is no log, or no training loss in it.
    """
    path = Path(path)
    files = [path] if path.is_file() else _find_logs(path)
    train, val, unit = [], [], 'iteration'
    for line in _read_lines(files):
        step = line['step']
        if 'loss' in line:
            unit = 'epoch' if 'epoch' in line else 'iteration'
            if train and step <= train[-1][0]:
                train = [point for point in train if point[0] < step]
                val = [point for point in val if point[0] < step]
            train.append((step, line['loss']))
        else:
            # remembered with the iteration at which it was measured
            val.append((train[-1][0] if train else 0, line))
    if not train:
        raise FileNotFoundError(
            f"'{path}' holds no training log (vis_data/scalars.json with "
            'losses). Give the work dir of a training run.'
        )
    metrics = {}
    for _, line in val:
        for name, value in line.items():
            if name not in NO_METRIC and isinstance(value, (int, float)):
                metrics.setdefault(name, []).append((line['step'], value))
    return TrainingLog(train, metrics, unit)


def plot_learning_curves(
    runs: Mapping[str, PathLike | Mapping[str, PathLike]], out: PathLike
) -> None:
    """Draw losses above validation metrics, one column per task.

    Args:
        runs (Mapping): From the title of a column to the work dir (or
            ``scalars.json``) of its run, or to several runs drawn over each
            other: ``{'Mask R-CNN': {'pre-trained': 'work_dirs/a', 'from
            scratch': 'work_dirs/b'}}``.
        out (str | Path): Picture to write; its folder is made.

    Raises:
        ValueError: If ``runs`` is empty.
        FileNotFoundError: If a run has no training log.
    """
    if not runs:
        raise ValueError('No run to draw learning curves of was given.')
    columns = {
        title: {
            name: read_training_log(path)
            for name, path in (
                run.items() if isinstance(run, Mapping) else [('', run)]
            )
        }
        for title, run in runs.items()
    }
    figure = Figure(figsize=(4.6 * len(columns), 5.6), layout='constrained')
    axes = figure.subplots(2, len(columns), squeeze=False)
    for (title, logs), (top, bottom) in zip(columns.items(), axes.T):
        top.set_title(title, fontweight='bold')
        _draw_losses(top, logs)
        _draw_metrics(bottom, logs)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)


def _find_logs(work_dir: Path) -> list[Path]:
    """Return the logs below a work dir, oldest first."""
    # starts are named by their time, so names sort by age
    return sorted(
        [
            *work_dir.glob('vis_data/scalars.json'),
            *work_dir.glob('*/vis_data/scalars.json'),
        ],
        key=lambda path: path.parent.parent.name,
    )


def _read_lines(files: Iterable[Path]) -> Iterable[dict]:
    for file in files:
        for text in file.read_text().splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict) and 'step' in line:
                yield line


def _draw_losses(axes: Axes, logs: Mapping[str, TrainingLog]) -> None:
    for (name, log), color in zip(logs.items(), cycle(COLORS)):
        axes.plot(*zip(*log.losses), color=color, lw=1.6, label=name)
    _finish(axes, 'training loss', 'iteration')
    if any(logs):
        axes.legend(frameon=False, fontsize=9)


def _draw_metrics(axes: Axes, logs: Mapping[str, TrainingLog]) -> None:
    """Draw a colour per run and a line style per metric."""
    found = {name: None for log in logs.values() for name in log.metrics}
    shown = [name for name in HEADLINES if name in found] or list(found)
    for (run, log), color in zip(logs.items(), cycle(COLORS)):
        for metric, style in zip(shown, cycle(STYLES)):
            points = log.metrics.get(metric)
            if not points:
                continue
            last = points[-1][1]
            label = HEADLINES.get(metric, metric)
            if run:
                label = f'{label}, {run}'
            axes.plot(
                *zip(*points),
                ls=style,
                color=color,
                lw=1.6,
                marker='o',
                ms=3.5,
                label=f'{label}: {last:{".1f" if last > 1 else ".3f"}}',
            )
    _finish(axes, 'validation', next(iter(logs.values())).unit)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9)
    else:
        axes.text(
            *(0.5, 0.5, 'no validation yet'),
            transform=axes.transAxes,
            ha='center',
            color='gray',
        )


def _finish(axes: Axes, ylabel: str, xlabel: str) -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5]))
    axes.grid(alpha=0.25)
    axes.spines[['top', 'right']].set_visible(False)
