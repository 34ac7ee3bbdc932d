"""Tables of what ``benchmark.py`` measured."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import mmvheat
from mmvheat.visualization import markdown_table

GB = 1e9
PACKAGES = ('torch', 'mmvheat', 'mmengine', 'mmcv', 'mmcv-lite', 'mmdet')
PACKAGES += ('mmsegmentation', 'mmpretrain', 'timm', 'numpy')


def make_markdown(report: dict) -> str:
    """Write a report in markdown.

    Of a CPU it has ratios instead of times: they hold on other machines.

    Args:
        report (dict): What ``benchmark.json`` holds.

    Returns:
        str: The text.
    """
    on_cpu = report['device'] == 'cpu'
    parts = [
        '# Benchmark\n',
        _describe_run(report),
        *_make_speed_tables(report, on_cpu),
    ]
    if report['exponents']:
        parts += ['## Growth with the image\n', _make_exponent_table(report)]
    if report['stream']:
        parts += ['## Images of many sizes\n', _make_stream_table(report)]
    parts += ['## Limit of the machine\n', _make_gemm_table(report, on_cpu)]
    return '\n'.join(parts)


def _describe_run(report: dict) -> str:
    lines = [f'- {name}: {text}' for name, text in report['machine'].items()]
    versions = ', '.join(f'{k} {v}' for k, v in report['versions'].items())
    lines += [
        f'- Versions: {versions}',
        f'- Command: `{report["command"]}`',
        *(f'- Left out: {line}' for line in report['left_out']),
    ]
    return '\n'.join(lines) + '\n\n' + _EXPLANATION


_EXPLANATION = """\
Speed is relative to the peer in the same rounds: above 1 is faster, the
range is that of the middle half of the rounds. Memory is the peak of a step
above that of the network, gradients included; on a CPU, resident memory under
an allocator that keeps nothing for later. FLOPs count a multiply-add once;
those of a training step are taken to be three forward passes. *Of the limit*
is the rate relative to that of square matrix products in the same rounds, *x
of the floor* its inverse: the time relative to what these FLOPs would take at
that rate.
"""


def _make_speed_tables(report: dict, on_cpu: bool) -> Iterable[str]:
    for mode, dtype in find_panels(report):
        rows = [
            row
            for row in report['results']
            if (row['mode'], row['dtype']) == (mode, dtype)
        ]
        columns = {
            'Images': lambda r: r['size'],
            'Model': lambda r: r['model'],
            'Peer': lambda r: r['peer'],
            'Speed': lambda r: _format(r['ratio'], '.2f'),
            'Range': lambda r: _format_range(r['ratio_quartiles']),
            'ms': lambda r: f'{r["ms"]:.4g}',
            'ms, range': lambda r: _format_range(r['ms_quartiles'], '.4g'),
            'Images/s': lambda r: f'{r["images_per_s"]:.4g}',
            'Memory (GB)': lambda r: _format_memory(r['peak_memory']),
            'Memory to peer': lambda r: _format(r['memory_ratio'], '.2f'),
            'GFLOPs an image': _format_flops,
            'Of the limit': lambda r: f'{100 * r["gemm_share"]:.0f} %',
            'x of the floor': lambda r: f'{r["floor_ratio"]:.2f}',
        }
        if on_cpu:
            for name in ('ms', 'ms, range', 'Images/s'):
                del columns[name]
        cells = [[get(row) for get in columns.values()] for row in rows]
        yield f'## {make_title(mode, dtype)}\n'
        yield markdown_table(*_without_empty(list(columns), cells))


def _make_exponent_table(report: dict) -> str:
    text = (
        'Exponent b of time ~ pixels^b over the sizes in batches of one; 1 is '
        'proportional.\n\n'
    )
    header = ['Model', 'Mode', 'Dtype', 'Exponent']
    rows = [
        [e['model'], e['mode'], e['dtype'], f'{e["exponent"]:.2f}']
        for e in report['exponents']
    ]
    return text + markdown_table(header, rows)


def _make_stream_table(report: dict) -> str:
    first = report['stream'][0]
    text = (
        f'Evaluation of {len(first["sizes"])} images, each of another size. '
        f'Time of a pixel relative to that of images of {first["fixed"]} '
        'alone, run between them. Memory that stays allocated behind an '
        'image: caches.\n\n'
    )
    header = ['Model', 'Dtype', 'Time of a pixel']
    header += ['Held after 2 sizes (MB)', 'At most', 'In the end']
    rows = [
        [
            run['model'],
            run['dtype'],
            f'{run["ratio"]:.2f}',
            *(
                f'{held / 1e6:.0f}'
                for held in (
                    run['held'][min(2, len(run['held']) - 1)],
                    max(run['held']),
                    run['held'][-1],
                )
            ),
        ]
        for run in report['stream']
    ]
    return text + markdown_table(header, rows)


def _make_gemm_table(report: dict, on_cpu: bool) -> str:
    size = report['gemm_size']
    text = (
        f'The faster one of `torch.mm` of {size}x{size} matrices and, on a '
        'CPU, a 1x1 convolution of as many FLOPs.\n\n'
    )
    rows = []
    for case in report['gemm']:
        rates = case['flops_per_s']
        best = max(rates.values())
        rows.append(
            [
                f'{case["mode"]} {case["dtype"]} {case["size"]}',
                max(rates, key=rates.get),
                *(
                    f'{100 * rate / best:.0f} %'
                    if on_cpu
                    else f'{rate / 1e12:.1f}'
                    for rate in rates.values()
                ),
            ]
        )
    unit = 'of the limit' if on_cpu else 'TFLOP/s'
    header = ['Case', 'Limit', *(f'{name}, {unit}' for name in rates)]
    return text + markdown_table(header, rows)


def find_panels(report: dict) -> list[tuple[str, str]]:
    return list(
        dict.fromkeys((r['mode'], r['dtype']) for r in report['results'])
    )


def make_title(mode: str, dtype: str) -> str:
    return f'{dict(eval="Evaluation", train="Training")[mode]}, {dtype}'


def _format(value: float | None, spec: str) -> str:
    return '' if value is None else f'{value:{spec}}'


def _format_range(quartiles: list | None, spec: str = '.2f') -> str:
    if quartiles is None:
        return ''
    return f'{quartiles[0]:{spec}} to {quartiles[2]:{spec}}'


def _format_memory(value: int | None) -> str:
    return '' if value is None else f'{value / GB:.2f}'


def _format_flops(row: dict) -> str:
    return f'{row["flops"] / row["batch"] / 1e9:.1f}'


def _without_empty(header: list[str], rows: list[list[str]]) -> tuple:
    """Drop the columns that no row fills."""
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    return (
        [header[i] for i in used],
        [[row[i] for i in used] for row in rows],
    )


def describe_machine(device: str) -> dict[str, str]:
    """Describe the processors that this run uses."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.is_file():
        text = cpuinfo.read_text()
        model, family, number = (
            (re.findall(rf'^{key}\s*: (.*)', text, re.M) or [other])[0]
            for key, other in (
                ('model name', model),
                ('cpu family', '?'),
                ('model', '?'),
            )
        )
        # Ratios differ between generations, whose name may be the same.
        has = [
            name for name in ('avx2', 'avx512f', 'amx_tile') if name in text
        ]
        model += f' (family {family}, model {number}; {", ".join(has)})'
    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, 'sched_getaffinity')
        else os.cpu_count()
    )
    machine = {
        'CPU': f'{model}, {cores} cores, {torch.get_num_threads()} threads'
    }
    if device == 'cuda':
        properties = torch.cuda.get_device_properties(0)
        machine['GPU'] = (
            f'{properties.name}, {properties.total_memory / 2**30:.0f} GiB'
        )
    return machine


def describe_versions() -> dict[str, str]:
    """Describe what is installed of what this run may use."""
    versions = {'Python': platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    # Run from a checkout it need not be installed.
    versions['mmvheat'] = mmvheat.__version__
    return versions


def describe_row(row: dict) -> str:
    """Describe a result in a line."""
    text = f'{row["mode"]} {row["dtype"]} {row["size"]} {row["model"]}: '
    text += f'{row["ms"]:.4g} ms, {row["floor_ratio"]:.2f}x of the floor'
    if row['ratio'] is not None:
        text += f', {row["ratio"]:.2f}x the speed of {row["peer"]}'
    if row['peak_memory'] is not None:
        text += f', {row["peak_memory"] / 1e9:.2f} GB'
    return text
