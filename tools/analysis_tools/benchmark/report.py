"""Tables of what the benchmark measured."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from prettytable import PrettyTable, TableStyle

import mmvheat

GB = 1e9
PACKAGES = ('mmengine', 'mmcv', 'mmcv-lite', 'mmdet', 'mmsegmentation')
PACKAGES += ('mmpretrain',)
EXPLANATION = """\
Speed is the median over the rounds of the speed relative to the peer in the
same round: above 1 is faster; the range is that of the middle half of the
rounds. FLOPs count a multiply-add once; those of a training step are taken to
be three forward passes. *Of the limit* is the rate relative to that of a
product of large square matrices in the same rounds."""
MEMORY = """\
Memory is the peak of a step above what was allocated before,
gradients included."""


def make_markdown(report: dict) -> str:
    """Write a report in markdown.

    Of a CPU it has ratios instead of times: they hold on other machines.

    Args:
        report (dict): What ``benchmark.json`` holds.

    Returns:
        str: The text.
    """
    on_gpu = report['device'] != 'cpu'
    columns = {
        'Images': lambda r: r['size'],
        'Model': lambda r: r['model'],
        'Peer': lambda r: r['peer'] or '',
        'Speed': lambda r: r['speed'] and f'{r["speed"][1]:.2f}' or '',
        'Range': lambda r: _format_range(r['speed']),
    }
    if on_gpu:
        columns.update(
            {
                'ms': lambda r: f'{r["ms"]:.4g}',
                'Images/s': lambda r: f'{1e3 * r["batch"] / r["ms"]:.4g}',
                'Memory (GB)': lambda r: f'{r["memory"] / GB:.2f}',
                'Memory to peer': lambda r: (
                    r['memory_ratio'] and f'{r["memory_ratio"]:.2f}' or ''
                ),
            }
        )
    columns.update(
        {
            'GFLOPs an image': lambda r: (
                f'{r["flops"] / r["batch"] / 1e9:.1f}'
            ),
            'Of the limit': lambda r: f'{r["of_limit"]:.0%}',
        }
    )
    parts = [
        '# Benchmark',
        '\n'.join(f'- {k}: {text}' for k, text in describe_run(report)),
        EXPLANATION + (f' {MEMORY}' if on_gpu else ''),
    ]
    for (mode, dtype), rows in split_panels(report).items():
        cells = [[get(row) for get in columns.values()] for row in rows]
        parts += [
            f'## {make_title(mode, dtype)}',
            make_table(list(columns), cells),
        ]
    return '\n\n'.join(parts) + '\n'


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


def describe_run(report: dict) -> Iterator[tuple[str, str]]:
    """Say where and how a report came about, in pairs of name and text."""
    yield from report['machine'].items()
    yield 'Command', f'`{report["command"]}`'
    for line in report['left_out']:
        yield 'Left out', line


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
        f'{", ".join(units)}), {len(os.sched_getaffinity(0))} cores, '
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
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    machine['Versions'] = ', '.join(f'{k} {v}' for k, v in versions.items())
    return machine


def describe_row(row: dict) -> str:
    """Describe a result in a line."""
    text = f'{row["mode"]} {row["dtype"]} {row["size"]} {row["model"]}: '
    text += f'{row["ms"]:.4g} ms, {row["of_limit"]:.0%} of the limit'
    if row['speed']:
        text += f', {row["speed"][1]:.2f}x the speed of {row["peer"]}'
    if row['memory']:
        text += f', {row["memory"] / GB:.2f} GB'
    return text


def _format_range(quartiles: list | None) -> str:
    return f'{quartiles[0]:.2f} to {quartiles[2]:.2f}' if quartiles else ''
