"""Comparisons: variants of one config, trained at equal budget by some seeds.

What is in a file says ``configs/comparisons/propagators.py``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mmengine.config import Config
from mmengine.registry import FUNCTIONS, DefaultScope

from mmvheat.checkpoint.writer import replace_file
from mmvheat.commands.config import load_config, merge_options, read_config
from mmvheat.errors import UserError
from mmvheat.visualization import style

from .tables import make_table
from .trials import collect_results, run_trials

Rows = list[tuple[str, list[dict[str, Any]]]]
"""Titles with results of trials; those of references are metrics alone."""


def compare(
    path: str,
    out: Path,
    variants: Sequence[str] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    jobs: int = 1,
    options: dict[str, Any] | None = None,
) -> str:
    """Train what is not done, then report what is, in a table and a picture.

    Args:
        path (str): A file such as those of ``configs/comparisons``.
        out (Path): For the runs, and comparison.md, .json and .png of all
            that were done with the same settings.
        variants (Sequence[str], optional): Those to train. Defaults to all.
        seeds (Sequence[int]): Of every variant.
        jobs (int): Runs at a time.
        options (dict, optional): ``--cfg-options`` of all runs.

    Returns:
        str: The table, in markdown.

    Raises:
        UserError: The file or the options are at fault, or a run failed.
    """
    comparison = read_comparison(path)
    metric, data = comparison['metric'], comparison['data']
    cfgs = make_configs(comparison, options or {})
    unknown = [name for name in variants or () if name not in cfgs]
    if unknown:
        raise UserError(
            f'{path} has no variant {", ".join(unknown)}; choose of '
            f'{", ".join(cfgs)}.'
        )
    if data and not Path(data['root']).is_dir():
        FUNCTIONS.build(data)
    chosen = {name: cfgs[name] for name in variants or cfgs}
    run_trials(chosen, [*dict.fromkeys(seeds)], out, metric['name'], jobs)
    rows, cfg = [], next(iter(cfgs.values()))
    for reference in comparison['references']:
        is_drawn = reference.pop('draw', True)
        reference.update(cfg=cfg, metric=metric['name'])
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            title, metrics = FUNCTIONS.build(reference)
        rows.append((title, [dict(metrics=metrics, draw=is_drawn)]))
    for name, variant in comparison['variants'].items():
        runs = collect_results(out, name, cfgs[name])
        rows += [(variant['title'], runs)] if runs else []
    table = make_scores_table(rows, metric['name'], metric['digits'])
    for suffix, text in (('md', table), ('json', json.dumps(rows, indent=2))):
        with replace_file(out / f'comparison.{suffix}') as partial:
            partial.write_text(f'{text}\n', encoding='utf-8')
    draw_scores(rows, metric['name'], metric['label'], out / 'comparison.png')
    return table


def read_comparison(path: str) -> dict[str, Any]:
    """Read a comparison; ``base`` becomes a path from here.

    Raises:
        UserError: The file is missing or unreadable, or something in it is
            missing or unknown.
    """
    values = read_config(path).to_dict()
    found = {k: v for k, v in values.items() if not k.startswith('_')}
    optional = dict(settings={}, data=None, references=[])
    _check_keys(path, found, ['base', 'metric', 'variants'], [*optional])
    needed = ['name', 'digits', 'label']
    _check_keys(f'metric in {path}', found['metric'], needed)
    if 'data' in found:
        needed, given = ['type', 'root'], found['data']
        _check_keys(f'data in {path}', given, needed, given)
    if not found['variants'] or not isinstance(found['variants'], dict):
        raise UserError(
            f'variants in {path} must be a dict from names to titles and '
            f'options, but are {found["variants"]!r}.'
        )
    for name, variant in found['variants'].items():
        _check_keys(f'{name} in {path}', variant, ['title'], ['options'])
    base = Path(path).parent / found['base']
    return {**optional, **found, 'base': str(base)}


def _check_keys(
    place: str, found: object, needed: list[str], optional: Sequence[str] = ()
) -> None:
    keys = list(found) if isinstance(found, dict) else []
    if not {*needed} <= {*keys} <= {*needed, *optional}:
        raise UserError(
            f'{place} sets {", ".join(keys) or "nothing"}, expected are '
            f'{", ".join(needed)}'
            + (f' and, if you like, {", ".join(optional)}' if optional else '')
            + '; configs/comparisons/propagators.py says what they mean.'
        )


def make_configs(
    comparison: dict[str, Any], options: dict[str, Any]
) -> dict[str, Config]:
    """Make the config of every variant, where the seed alone is not set.

    Raises:
        UserError: The base cannot be read, or options do not fit.
    """
    base, cfgs = load_config(comparison['base']), {}
    for name, variant in comparison['variants'].items():
        cfgs[name] = copy.deepcopy(base)
        merge_options(cfgs[name], comparison['settings'], 'settings')
        merge_options(cfgs[name], variant.get('options', {}), name)
        merge_options(cfgs[name], options)
    return cfgs


def make_scores_table(rows: Rows, metric: str, digits: int) -> str:
    """Draw a table in markdown: mean and spread of a metric, other means."""
    found = [run['metrics'] for _, runs in rows for run in runs]
    others = [key for key in dict.fromkeys(chain(*found)) if key != metric]
    header = ['Variant', 'Parameters', f'{metric}, mean', 'Deviation']
    header += ['Lowest', 'Highest', *others, 'Seconds', 'Runs', 'Device']
    table = []
    for title, runs in rows:
        scores = [run['metrics'][metric] for run in runs]
        values = [mean(scores)]
        if len(scores) > 1:
            values += [stdev(scores), min(scores), max(scores)]
        cells = {**dict.fromkeys(header, ''), 'Variant': title}
        cells.update(zip(header[2:], (f'{v:.{digits}f}' for v in values)))
        for key in others:
            known = [r['metrics'][key] for r in runs if key in r['metrics']]
            cells[key] = f'{mean(known):#.4g}' if known else ''
        if 'seconds' in runs[0]:
            cells['Parameters'] = f'{runs[0]["parameters"]:,}'
            cells['Seconds'] = f'{mean(run["seconds"] for run in runs):.0f}'
            cells['Runs'] = len(runs)
            cells['Device'] = '; '.join(sorted({r['device'] for r in runs}))
        table.append(cells.values())
    return make_table(header, table)


def draw_scores(rows: Rows, metric: str, label: str, target: Path) -> None:
    """Draw a dot for every run and a line for every mean, a row a title."""
    rows = [row for row in rows if row[1][0].get('draw', True)]
    figure = style.new_figure(7.6, 1.3 + 0.4 * len(rows))
    axes = figure.subplots()
    for row, (_, runs) in enumerate(rows):
        scores = [run['metrics'][metric] for run in runs]
        dots, ends = [row] * len(scores), [row - 0.3, row + 0.3]
        axes.plot(scores, dots, 'o', color=style.LINE_COLORS[1], ms=5)
        axes.plot(2 * [mean(scores)], ends, color=style.LINE_COLORS[2], lw=2)
    axes.set_yticks(range(len(rows)), [title for title, _ in rows])
    axes.invert_yaxis()
    style.finish_plot(axes, '', label, '')
    axes.grid(visible=False, axis='y')
    style.save_figure(figure, target)
