"""The speed of vHeat-T in this checkout relative to that in another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

import torch

from benchmark.report import make_table
from benchmark.timing import compare_speed, quartiles, time_interleaved
from mmvheat.engine.errors import UserError

HERE = Path(__file__).resolve()
ROOT = HERE.parents[3]
HEADER = ['Case', 'Speed', 'Range', 'ms', 'ms, other']


class Worker:
    """A process that times the vHeat-T of one checkout.

    Args:
        checkout (Path): A folder that holds ``mmvheat/``.
        device (str): ``'cpu'`` or ``'cuda'``.

    Raises:
        UserError: There is no mmvheat in it, or its process ended.
    """

    def __init__(self, checkout: Path, device: str) -> None:
        self.checkout = checkout.resolve()
        if not (checkout / 'mmvheat').is_dir():
            raise UserError(
                f'{checkout} has no folder mmvheat; give a checkout of the '
                'repository to --against.'
            )
        paths = [str(self.checkout), str(HERE.parents[1])]
        paths += filter(None, [os.environ.get('PYTHONPATH')])
        self.process = subprocess.Popen(
            [sys.executable, str(HERE.with_name('worker.py'))]
            + [device, str(torch.get_num_threads())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
        )

    def time(self, case: Sequence, count: int) -> float:
        """Run a case some times; seconds of one run."""
        self.process.stdin.write(json.dumps([case, count]) + '\n')
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise UserError(
                f'The vHeat of {self.checkout} does not run; its error '
                'stands above.'
            )
        return json.loads(line)

    def describe(self) -> str:
        """Name the commit, ``-dirty`` if files were changed since."""
        command = ['git', '-C', self.checkout, 'describe', '--always']
        run = subprocess.run(
            [*command, '--dirty'], capture_output=True, text=True
        )
        return f'{self.checkout} ({run.stdout.strip() or "no commit"})'


def compare_checkouts(args: Namespace) -> str:
    """Time two checkouts in turn, each in a process of its own.

    Args:
        args (Namespace): The command line.

    Returns:
        str: What was compared, and a table in markdown: speed relative to the
        other checkout, and the median times.
    """
    rows = []
    workers = []
    try:
        for path in (ROOT, args.against):
            workers.append(Worker(path, args.device))
        for mode, dtype, size in product(args.modes, args.dtypes, args.sizes):
            case = [mode, dtype, size.batch, size.height, size.width]
            timers = {
                name: partial(worker.time, case)
                for name, worker in zip(('own', 'other'), workers)
            }
            times = time_interleaved(timers, args.repeats)
            low, speed, high = compare_speed(**times)
            row = [f'{mode} {dtype} {size}', f'{speed:.3f}']
            row += [f'{low:.3f} to {high:.3f}']
            row += [f'{1e3 * quartiles(t)[1]:.4g}' for t in times.values()]
            rows.append(row)
            print(*row, sep='  ', flush=True)
        own, theirs = (worker.describe() for worker in workers)
    finally:
        for worker in workers:
            worker.process.communicate()
    return (
        f'vHeat-T of {own} relative to {theirs}; a speed above 1 is '
        f'faster.\n\n{make_table(HEADER, rows)}'
    )
