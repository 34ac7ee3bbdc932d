"""Tables of what steps of networks cost."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby, product
from pathlib import Path

from torch import nn

from mmvheat.analysis import counting
from mmvheat.analysis.tables import make_table, make_title

from .accountant import Count
from .cards import CARDS
from .step import Step, count_step

GIB = 2**30


def count_networks(
    networks: Mapping[str, Callable[[], nn.Module]],
    sizes: Sequence[tuple[int, int, int]],
    modes: Sequence[str],
    dtypes: Sequence[str],
    out_dir: Path,
) -> None:
    """Count steps of networks, and write ``counts.md`` and ``counts.json``.

    Args:
        networks (Mapping): From names to what builds a backbone.
        sizes (Sequence[tuple[int, int, int]]): Of images, (B, H, W).
        modes (Sequence[str]): As of :func:`count_step`.
        dtypes (Sequence[str]): As of :func:`count_step`.
        out_dir (Path): Folder to fill.
    """
    command = shlex.join(['python', *sys.argv])
    parts = [
        '# Counted, not measured',
        f'Command: `{command}`',
        counting.__doc__.strip(),
    ]
    counts = []
    for dtype, mode, size in product(dtypes, modes, sizes):
        batch, height, width = size
        steps = {}
        for name, build in networks.items():
            shape = batch, 3, height, width
            try:
                step = count_step(build(), shape, mode, dtype)
            except (RuntimeError, ValueError) as error:
                reason = ' '.join(str(error).split())[:200]
                left_out = f'Left out: {name} in {mode} {dtype} ({reason})'
                print(left_out, flush=True)
                parts.append(left_out)
                continue
            steps[name] = step
            print(*describe(name, step, mode), sep='  ', flush=True)
        images = f'{batch}x{height}x{width}'
        parts.append(f'## {make_title(mode, dtype)}, {images}')
        parts += describe_case(steps, mode)
        counts += [
            dict(model=n, mode=mode, dtype=dtype, size=images, **asdict(s))
            for n, s in steps.items()
        ]
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / 'counts.md').write_text('\n\n'.join(parts) + '\n')
    (out_dir / 'counts.json').write_text(json.dumps(counts, indent=1))
    print(f'wrote {out_dir / "counts.md"}')


def describe_case(steps: dict[str, Step], mode: str) -> list[str]:
    """Describe steps of networks in one mode, in markdown."""
    header = ['Network', 'GiB', 'Floor', 'Kernels', 'TFLOP']
    header += ['Saved GiB'] if mode == 'train' else []
    header += [f'{card} ms' for card in CARDS]
    rows = [describe(name, step, mode) for name, step in steps.items()]
    kinds = list(dict.fromkeys(k for s in steps.values() for k in s.kinds))
    by_kind = [
        [name, *(f'{s.kinds.get(k, Count()).bytes / GIB:.2f}' for k in kinds)]
        for name, s in steps.items()
    ]
    return [
        make_table(header, rows),
        'GiB by kind of operator:',
        make_table(['Network', *kinds], by_kind),
        'A block on average, by stage: GiB in kernels.',
        make_table(
            ['Network', *(f'Stage {i + 1}' for i in range(4))],
            [[name, *describe_stages(s)] for name, s in steps.items()],
        ),
    ]


def describe(name: str, step: Step, mode: str) -> list[str]:
    """Describe a step: bytes, kernels, FLOPs and roofline times."""
    total = step.total
    return [
        name,
        f'{total.bytes / GIB:.2f}',
        f'{total.floor / GIB:.2f}',
        f'{total.kernels}',
        f'{total.flops / 1e12:.2f}',
        *([f'{step.saved / GIB:.2f}'] if mode == 'train' else []),
        *(f'{1e3 * seconds:.2f}' for seconds in total.seconds.values()),
    ]


def describe_stages(step: Step) -> list[str]:
    """Describe the average block of every stage."""
    names = sorted(name for name in step.blocks if name)
    cells = []
    for _, group in groupby(names, lambda name: name.rpartition('.')[0]):
        blocks = [step.blocks[name] for name in group]
        size = sum(block.bytes for block in blocks) / len(blocks) / GIB
        kernels = sum(block.kernels for block in blocks) / len(blocks)
        cells.append(f'{size:.3f} in {kernels:.0f}')
    return (cells + [''] * 4)[:4]
