"""The speed of vHeat-T in this checkout relative to that in another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from functools import partial
from itertools import product
from pathlib import Path

import torch

from benchmark.timing import compare_speed, quartiles, time_interleaved
from mmvheat.analysis.tables import make_table
from mmvheat.errors import UserError

HERE = Path(__file__).resolve()
ROOT = HERE.parents[3]
# As mmvheat.compat sets it in our tools; older checkouts do not.
_GLIBC = dict(MALLOC_MMAP_MAX_='0', MALLOC_TRIM_THRESHOLD_=f'{2**31 - 1}')
HEADER = ['Case', 'Speed', 'Range', 'ms', 'ms, other']


def compare_checkouts(args: Namespace) -> str:
    """Time two checkouts in turn, each in a process of its own.

    Args:
        args (Namespace): The command line.

    Returns:
        str: What was compared, and a table in markdown: speed relative to the
        other checkout, and the median times.

    Raises:
        UserError: There is no mmvheat in the other one, or one does not run.
    """
    if not (args.against / 'mmvheat').is_dir():
        raise UserError(
            f'{args.against} has no folder mmvheat; give a checkout of the '
            'repository to --against.'
        )
    paths = dict(own=ROOT, other=args.against.resolve())
    workers = {k: start_worker(p, args.device) for k, p in paths.items()}
    rows = []
    for mode, dtype, size in product(args.modes, args.dtypes, args.sizes):
        case = [mode, dtype, *size]
        times = time_interleaved(
            {name: partial(ask, w, case) for name, w in workers.items()},
            args.repeats,
        )
        low, speed, high = compare_speed(**times)
        row = [f'{mode} {dtype} {size}', f'{speed:.3f}']
        row += [f'{low:.3f} to {high:.3f}']
        row += [f'{1e3 * quartiles(t)[1]:.4g}' for t in times.values()]
        rows.append(row)
        print(*row, sep='  ', flush=True)
    own, other = map(name_commit, paths.values())
    return (
        f'vHeat-T of {own} relative to {other}; a speed above 1 is faster.'
        f'\n\n{make_table(HEADER, rows)}'
    )


def start_worker(checkout: Path, device: str) -> subprocess.Popen:
    """Start the process of a checkout; it ends with this one."""
    paths = [str(checkout), str(HERE.parents[1])]
    paths += filter(None, [os.environ.get('PYTHONPATH')])
    return subprocess.Popen(
        [sys.executable, str(HERE.with_name('worker.py'))]
        + [device, str(torch.get_num_threads())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(paths), **_GLIBC),
    )


def ask(worker: subprocess.Popen, case: list, count: int) -> float:
    """Have a worker run a case some times; seconds of one run."""
    print(json.dumps([case, count]), file=worker.stdin, flush=True)
    line = worker.stdout.readline()
    if not line:
        raise UserError('The vHeat of a checkout does not run, see above.')
    return json.loads(line)


def name_commit(checkout: Path) -> str:
    """Name a checkout and its commit, ``-dirty`` if files were changed."""
    command = ['git', '-C', str(checkout), 'describe', '--always', '--dirty']
    run = subprocess.run(command, capture_output=True, text=True)
    return f'{checkout} ({run.stdout.strip() or "no commit"})'
