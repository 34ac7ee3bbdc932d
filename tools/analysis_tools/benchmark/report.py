"""Tables of what the benchmark measured."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from prettytable import PrettyTable, TableStyle

import mmvheat

PACKAGES = 'mmengine mmcv mmcv-lite mmdet mmsegmentation mmpretrain'
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


def make_table(header: list[str], rows: list[list[str]]) -> str:
    """Draw a table in markdown, columns of numbers flush right."""
    table = PrettyTable(header)
    table.add_rows(rows)
    table.set_style(TableStyle.MARKDOWN)
    for name, *cells in zip(header, *rows):
        numbers = all(re.match(r'\d|$', cell) for cell in cells)
        table.align[name] = 'r' if numbers else 'l'
    return table.get_string()


def split_panels(report: dict) -> dict[tuple[str, str], list[dict]]:
    """Group the results by mode and dtype."""
    panels = {}
    for row in report['results']:
        panels.setdefault((row['mode'], row['dtype']), []).append(row)
    return panels


def make_title(mode: str, dtype: str) -> str:
    """Name a mode and a dtype."""
    return f'{dict(eval="Evaluation", train="Training")[mode]}, {dtype}'


def describe_machine(device: str) -> dict[str, str]:
    """Describe the processors and the software that this run uses."""
    text = ''
    if Path('/proc/cpuinfo').is_file():
        text = Path('/proc/cpuinfo').read_text()
    name, family, model = (
        (re.findall(rf'^{key}\s*: (.*)', text, re.M) or ['unknown'])[0]
        for key in ('model name', 'cpu family', 'model')
    )
    # Ratios differ between generations, whose name may be the same.
    units = [unit for unit in ('avx2', 'avx512f', 'amx_tile') if unit in text]
    machine = {
        'CPU': f'{name} (family {family}, model {model}; '
        f'{", ".join(units)}), {os.cpu_count()} cores, '
        f'{torch.get_num_threads()} threads'
    }
    if device == 'cuda':
        gpu = torch.cuda.get_device_properties(0)
        machine['GPU'] = (
            f'{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, CUDA '
            f'{torch.version.cuda}; fp32 with TF32 in matrix products: '
            f'{torch.backends.cuda.matmul.allow_tf32}, in convolutions: '
            f'{torch.backends.cudnn.allow_tf32}'
        )
    versions = {'Python': platform.python_version()}
    versions['torch'] = torch.__version__
    # Run from a checkout it need not be installed.
    versions['mmvheat'] = mmvheat.__version__
    for package in PACKAGES.split():
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    machine['Versions'] = ', '.join(f'{k} {v}' for k, v in versions.items())
    return machine
