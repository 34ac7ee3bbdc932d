"""Run commands as steps of one program, some of them side by side."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import runpy
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import Progress

ETA = re.compile(r'\((?:train|test)\).*eta: (\d+):(\d\d):(\d\d)')


PYTHONS = multiprocessing.get_context('forkserver')
"""Interpreters that have the libraries loaded: that takes 10 s a step."""
PYTHONS.set_forkserver_preload(
    ['mmdet.apis', 'mmseg.apis', 'mmpretrain.apis', 'mmvheat']
)


class Step(NamedTuple):
    """A python command, its script first.

    ``{name}`` in it is the last checkpoint in the work dir ``name``.
    ``seconds`` is what it adds to the whole on two cores, about. Steps that
    name a ``lane`` wait for earlier ones in it alone: lanes run side by side.
    """

    name: str
    command: list[str]
    seconds: int
    lane: str = ''


def run_all(steps: Sequence[Step], root: Path, work: str) -> dict[str, float]:
    """Run steps, telling how far they are.

    Args:
        steps (Sequence[Step]): The steps, by different names.
        root (Path): The folder to run in.
        work (str): A folder in it with the work dirs; ``logs`` beside them
            takes what the steps print.

    Returns:
        dict[str, float]: The seconds of each by its name.

    Raises:
        SystemExit: One failed. Whatever ran beside it was ended.
    """
    logs = f'{work}/logs'
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f'{len(steps)} steps; what they print goes to {logs}.')
    (root / logs).mkdir(parents=True, exist_ok=True)
    names = [step.name for step in steps]
    seconds, shares = {}, dict.fromkeys(names, 0.0)
    start = time.monotonic()
    with Progress(
        *Progress.get_default_columns(),
        console=console,
        disable=not console.is_terminal,
        speed_estimate_period=3600,
    ) as progress:
        total = sum(step.seconds for step in steps)
        bar = progress.add_task('', total=total)
        for step, share in run_stages(steps, root, work):
            label = f'[{names.index(step.name) + 1}/{len(steps)}]'
            if share == 0.0:
                console.print(f'{label} python {shlex.join(step.command)}')
                seconds[step.name] = -time.monotonic()
            shares[step.name] = share
            done = sum(shares[step.name] * step.seconds for step in steps)
            progress.update(bar, description=step.name, completed=done)
            if share == 1.0:
                now = time.monotonic()
                seconds[step.name] += now
                left = (now - start) * (total / done - 1) / 60
                console.print(
                    f'{label} took {seconds[step.name]:.0f} s, about '
                    f'{left:.0f} min left'
                )
    return seconds


def run_stages(
    steps: Sequence[Step], root: Path, work: str
) -> Iterator[tuple[Step, float]]:
    """Run steps one by one, those of lanes side by side.

    Yields:
        tuple[Step, float]: A step with its whole command, and which share of
        it is done: 0 before it starts, 1 when it ended.
    """
    numbered = list(enumerate(steps, 1))
    for _, stage in itertools.groupby(numbered, lambda s: s[1].lane != ''):
        lanes = {}
        for number, step in stage:
            lanes.setdefault(step.lane, []).append((number, step))
        running = [run_lane(lane, root, work) for lane in lanes.values()]
        try:
            while running:
                for lane in running.copy():
                    try:
                        yield next(lane)
                    except StopIteration:
                        running.remove(lane)
        finally:
            for lane in running:
                lane.close()


def run_lane(
    lane: Sequence[tuple[int, Step]], root: Path, work: str
) -> Iterator[tuple[Step, float]]:
    """Run numbered steps one after the other, see :func:`run_stages`."""
    for number, step in lane:
        checkpoints = {
            path.parent.name: path.read_text().strip()
            for path in (root / work).glob('*/last_checkpoint')
        }
        command = [part.format(**checkpoints) for part in step.command]
        step = step._replace(command=command)
        log = f'{work}/logs/{number:02d}_{step.name.replace(" ", "_")}.log'
        yield step, 0.0
        for share in run_step(step, root, log):
            yield step, share
        yield step, 1.0


def run_step(step: Step, root: Path, log: str) -> Iterator[float]:
    """Run a command; yield which share of it is done, between 0 and 1.

    The share comes from the ``eta`` in the lines of mmengine.
    """
    start, share = time.monotonic(), 0.001
    (root / log).touch()
    args = step.command, root, log
    process = PYTHONS.Process(target=run_script, args=args)
    process.start()
    try:
        while process.exitcode is None:
            process.join(0.2)
            found = ETA.findall((root / log).read_text())
            if found:
                h, m, s = map(int, found[-1])
                spent = time.monotonic() - start
                share = max(share, spent / (spent + s + 60 * (m + 60 * h)))
            yield min(share, 0.999)
    finally:  # the keyboard or another lane may have interrupted
        process.terminate()
        process.join(10)
        process.kill()
        process.join()
    if process.exitcode:
        tail = (root / log).read_text().splitlines()[-15:]
        raise SystemExit(
            '\n'.join(tail) + f'\nerror: the step "{step.name}" failed with '
            f'exit code {process.exitcode}; all it printed is in {log}.'
        )


def run_script(command: Sequence[str], folder: Path, log: str) -> None:
    """Be ``python COMMAND`` in a folder, printing to a file there.

    With one thread: networks this small are hardly faster with two, and many
    times slower where another program runs beside them.
    """
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    sys.argv = list(command)
    runpy.run_path(command[0], run_name='__main__')
