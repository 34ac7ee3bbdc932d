"""Tables of what the benchmark measured."""

from __future__ import annotations

from mmvheat.analysis.tables import make_table, make_title

EXPLANATION = """\
Speed is the median over the rounds of the speed relative to the peer in the
same round: above 1 is faster; the range is that of the middle half of the
rounds. Memory, on a GPU, is the peak of a step above what was allocated
before, gradients included."""


def make_markdown(report: dict) -> str:
    """Write a report in markdown.

    Of a CPU it has ratios instead of times: they hold on other machines.

    Args:
        report (dict): What ``benchmark.json`` holds.

    Returns:
        str: The text.
    """
    columns = ['Images', 'Model', 'Peer', 'Speed', 'Range']
    if report['device'] != 'cpu':
        columns += ['ms', 'Images/s', 'Memory (GB)']
    run = [*report['machine'].items(), ('Command', f'`{report["command"]}`')]
    run += [('Left out', line) for line in report['left_out']]
    parts = [
        '# Benchmark',
        '\n'.join(f'- {name}: {text}' for name, text in run),
        EXPLANATION,
    ]
    for (mode, dtype), rows in split_panels(report).items():
        cells = [describe_row(row) for row in rows]
        table = make_table(columns, [[c[k] for k in columns] for c in cells])
        parts += [f'## {make_title(mode, dtype)}', table]
    return '\n\n'.join(parts) + '\n'


def describe_row(row: dict) -> dict[str, str]:
    """Write out the columns of a result."""
    memory = row['memory']
    columns = {
        'Images': row['size'],
        'Model': row['model'],
        'Peer': row['peer'] or '',
        'Speed': '',
        'Range': '',
        'ms': f'{row["ms"]:.4g}',
        'Images/s': f'{1e3 * row["batch"] / row["ms"]:.4g}',
        'Memory (GB)': '' if memory is None else f'{memory / 1e9:.2f}',
    }
    if row['speed']:
        low, median, high = (f'{speed:.2f}' for speed in row['speed'])
        columns.update(Speed=median, Range=f'{low} to {high}')
    return columns


def split_panels(report: dict) -> dict[tuple[str, str], list[dict]]:
    """Group the results by mode and dtype."""
    panels = {}
    for row in report['results']:
        panels.setdefault((row['mode'], row['dtype']), []).append(row)
    return panels
