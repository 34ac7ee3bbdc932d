"""Tables of what steps of networks cost."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import Namespace
from dataclasses import asdict
from itertools import groupby, product

from benchmark import networks
from benchmark.report import make_title
from benchmark.step import Size

import counting
from counting import CARDS, count_step
from counting.accountant import Count
from counting.step import Step
from mmvheat.analysis.tables import make_table
from mmvheat.errors import UserError

GIB = 2**30


def count_networks(args: Namespace) -> None:
    """Count what the command line names, write ``counts.md`` and ``.json``.

    Raises:
        UserError: A network cannot be built, or is not a backbone.
    """
    for name in args.models:
        networks.check_name(name)
        if name.partition('+')[0].endswith('.py') or name.endswith('+compile'):
            raise UserError(
                f'{name} cannot be counted: give backbones by their names, '
                'not compiled.'
            )
        if reason := networks.why_missing(name):
            raise UserError(f'{name} cannot be counted: {reason}.')
    command = shlex.join(['python', *sys.argv])
    parts = [
        '# Counted, not measured',
        f'Command: `{command}`',
        counting.__doc__.strip(),
    ]
    counts = []
    for dtype, mode, size in product(args.dtypes, args.modes, args.sizes):
        steps = {}
        for name in args.models:
            shape = size.batch, 3, size.height, size.width
            try:
                step = count_step(networks.build(name), shape, mode, dtype)
            except RuntimeError as error:
                reason = ' '.join(str(error).split())[:200]
                left_out = f'Left out: {name} in {mode} {dtype} ({reason})'
                print(left_out, flush=True)
                parts.append(left_out)
                continue
            steps[name] = step
            print(*describe(name, step, mode), sep='  ', flush=True)
        parts += describe_case(steps, mode, dtype, size)
        counts += [
            dict(model=n, mode=mode, dtype=dtype, size=str(size), **asdict(s))
            for n, s in steps.items()
        ]
    args.out_dir.mkdir(parents=True, exist_ok=True)
    (args.out_dir / 'counts.md').write_text('\n\n'.join(parts) + '\n')
    (args.out_dir / 'counts.json').write_text(json.dumps(counts, indent=1))
    print(f'wrote {args.out_dir / "counts.md"}')


def describe_case(
    steps: dict[str, Step], mode: str, dtype: str, size: Size
) -> list[str]:
    """Describe steps of networks in one mode, dtype and size, in markdown."""
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
        f'## {make_title(mode, dtype)}, {size}',
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
