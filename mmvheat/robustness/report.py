"""Results of one or several models as tables and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from mmengine.config import Config

from mmvheat.analysis.tables import make_table
from mmvheat.checkpoint.writer import hash_file, replace_file
from mmvheat.errors import UserError
from mmvheat.visualization.curves import HEADLINES

from . import summary
from .transforms import BENCHMARK, FILTERS, SEVERITIES

METRICS = {**HEADLINES, 'shape_bias': 'shape bias (%)'}


def make_result(cfg: Config, tests: list[dict], **facts) -> dict:
    """Put together what ``robustness.json`` holds.

    Args:
        cfg (Config): The config that was tested.
        tests (list[dict]): Of :func:`run_tests`.
        **facts: ``title`` of the model and name of the ``data``.

    Raises:
        UserError: The tests have no metric that can stand in a table.
    """
    result = dict(
        **facts,
        config=cfg.filename,
        checkpoint=cfg.load_from,
        checkpoint_sha256=hash_file(cfg.load_from),
        classes=cfg.model.get('head', {}).get('num_classes'),
        tests=tests,
    )
    if not list_metrics(result):
        raise UserError(
            f'The test of {cfg.filename} gives '
            f'{", ".join(tests[0]["metrics"])}, but none of '
            f'{", ".join(METRICS)}; add a metric that does.'
        )
    return result


def read_result(path: str | Path) -> dict:
    """Read a ``robustness.json``.

    Raises:
        UserError: It is none.
    """
    try:
        result = json.loads(Path(path).read_text())
        list_metrics(result)
        return result
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f'{path} is no result of tools/robustness.py '
            f'({type(error).__name__}: {error}); give its robustness.json.'
        ) from error


def check_comparable(results: Sequence[dict]) -> None:
    """Check that results are of the same tests.

    Raises:
        UserError: They are not.
    """
    first, *others = results
    for other in others:
        for what, values in (
            ('data', [r['data'] for r in (first, other)]),
            ('metrics', [list_metrics(r) for r in (first, other)]),
            ('conditions', [_keys(r) for r in (first, other)]),
        ):
            if values[0] != values[1]:
                raise UserError(
                    f'{first["title"]} and {other["title"]} are results of '
                    f'different {what} ({_shorten(values[0])} and '
                    f'{_shorten(values[1])}); test both alike.'
                )


def _keys(result: dict) -> list[str]:
    return [f'{t["name"]} {t["severity"]:g}' for t in result['tests']]


def _shorten(value: str | list) -> str:
    if isinstance(value, str):
        return value
    return f'{len(value)}: {value[0]} to {value[-1]}' if value else 'none'


def list_metrics(result: dict) -> list[str]:
    """List the metrics that stand for a model, the main one first."""
    return [m for m in METRICS if m in result['tests'][0]['metrics']]


def get_table(result: dict, metric: str) -> dict[str, dict[float, float]]:
    """Get the values of a metric by name and severity; ``clean`` has 0."""
    table = {}
    for test in result['tests']:
        values = test['metrics']
        if metric.startswith('coco/'):
            # Where nothing at all is found, mmdet gives no AP: it is 0.
            values = {metric: 0.0, **values}
        row = table.setdefault(test['name'], {})
        row[test['severity']] = values[metric]
    return table


def summarize(result: dict, metric: str) -> dict[str, float]:
    """Compute what papers report of a metric.

    Returns:
        dict[str, float]: ``clean``; mPC and rPC of the 15 corruptions, or of
        those of them that were tested; mCE and relative mCE of a classifier
        of 1,000 classes that was tested on all of them.
    """
    table = get_table(result, metric)
    clean = table.pop('clean')[0]
    values = {'clean': clean}
    table = {name: table[name] for name in BENCHMARK if name in table}
    if table:
        values['mPC'] = summary.mean_performance(table)
        values['rPC (%)'] = summary.relative_performance(table, clean)
    is_whole = len(table) == len(BENCHMARK) and all(
        {*row} == {*SEVERITIES} for row in table.values()
    )
    if is_whole and metric == 'accuracy/top1' and result['classes'] == 1000:
        errors = {
            name: {s: 100 - value for s, value in row.items()}
            for name, row in table.items()
        }
        values['mCE (%)'] = summary.mean_corruption_error(errors)
        values['relative mCE (%)'] = summary.relative_mean_corruption_error(
            errors, 100 - clean
        )
    return values


def write_report(results: Sequence[dict], folder: Path, name: str) -> str:
    """Write ``NAME.md``, ``NAME.json`` and, if there is a choice, pictures.

    Args:
        results (Sequence[dict]): Results of the same tests.
        folder (Path): Where; it is made.
        name (str): Of the files.

    Returns:
        str: The tables, in Markdown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metrics = list_metrics(results[0])
    content = results[0] if len(results) == 1 else {'results': results}
    with replace_file(folder / f'{name}.json') as partial:
        partial.write_text(json.dumps(content, indent=1) + '\n')
    parts = [_draw_summary(results)]
    if len(results[0]['tests']) > 1:
        from .pictures import draw_curves, draw_heat_map

        parts += [_draw_table(results, metric) for metric in metrics]
        draw_heat_map(results, metrics[0], folder / 'heat_map.png')
        draw_curves(results, metrics[0], folder / 'curves.png')
    text = '\n\n'.join(parts)
    with replace_file(folder / f'{name}.md') as partial:
        partial.write_text(f'{text}\n')
    return text


def _draw_summary(results: Sequence[dict]) -> str:
    rows = [
        (result['title'], metric, summarize(result, metric))
        for metric in list_metrics(results[0])
        for result in results
    ]
    names = list(dict.fromkeys(n for *_, values in rows for n in values))
    cells = (
        [
            title,
            METRICS[m],
            *(_format(v.get(name, math.nan)) for name in names),
        ]
        for title, m, v in rows
    )
    table = make_table(['model', 'metric', *names], cells)
    return f'# Robustness: {results[0]["data"]}\n\n{table}'


def _draw_table(results: Sequence[dict], metric: str) -> str:
    """Tell every test of one model, or means over severities of several.

    A filter has no mean: its radii stay apart.
    """
    tables = [get_table(result, metric) for result in results]
    clean = [table.pop('clean')[0] for table in tables]
    severities = list(next(iter(tables[0].values())))
    if len(results) == 1:
        (table,) = tables
        columns, rows = severities, []
        for name, row in table.items():
            mean = [] if name in FILTERS else [fmean(row.values())]
            rows.append([name, *row.values(), *mean])
        if not {*table} & {*FILTERS}:
            columns = [*severities, 'mean']
    else:
        columns = [result['title'] for result in results]
        rows = [['clean', *clean]]
        for name in tables[0]:
            if name in FILTERS:
                rows += [
                    [f'{name} {s:g}', *(t[name][s] for t in tables)]
                    for s in severities
                ]
            else:
                means = [fmean(table[name].values()) for table in tables]
                rows.append([name, *means])
    cells = ([name, *map(_format, values)] for name, *values in rows)
    return make_table([METRICS[metric], *map(str, columns)], cells)


def _format(value: float) -> str:
    if math.isnan(value):
        return '-'
    return f'{value:.3f}' if abs(value) <= 1 else f'{value:.1f}'
