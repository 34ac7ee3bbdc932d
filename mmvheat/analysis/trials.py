"""Trials: one network changed in several ways, each trained by some seeds."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from mmvheat.checkpoint.writer import replace_file
from mmvheat.errors import UserError
from mmvheat.visualization.style import (
    LINE_COLORS,
    finish_plot,
    new_figure,
    save_figure,
)


def run_trials(
    train: Callable[[str, int, Path], dict[str, Any]],
    settings: Mapping[tuple[str, int], Any],
    out: Path,
    jobs: int = 1,
    preload: Sequence[str] = ('mmvheat.commands',),
) -> None:
    """Train what is not done, each in a process of its own.

    Args:
        train (Callable): From a name, a seed and a work dir to what was
            measured. A function of a module, so that processes find it.
        settings (Mapping): Names and seeds to train, with all else that the
            result depends on, as JSON has it.
        out (Path): For a folder a trial, ``NAME_SEED``: its log.txt, and
            ``result.json`` when it is done.
        jobs (int): Trials at a time. Defaults to 1.
        preload (Sequence[str]): Modules that the processes share where
            there is no GPU.

    Raises:
        UserError: A trial failed.
    """
    # CUDA does not survive a fork, and libraries ask for it when imported.
    method = 'spawn' if torch.cuda.is_available() else 'forkserver'
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload(list(preload))

    def run(name: str, seed: int, wanted: Any) -> None:
        folder = out / f'{name}_{seed}'
        if read_result(folder).get('settings') != wanted:
            given = train, name, seed, wanted, folder
            process = context.Process(target=_train, args=given)
            process.start()
            process.join()
            if process.exitcode:
                raise UserError(
                    f'Training {name}, seed {seed}, ended with exit code '
                    f'{process.exitcode}; what it said is in '
                    f'{folder}/log.txt.'
                )
        values = read_result(folder).items()
        found = [f'{k} {v:.4g}' for k, v in values if isinstance(v, float)]
        print(f'{name} with seed {seed}: {", ".join(found)}', flush=True)

    # Threads wait; a process of a pool may have no data workers.
    pool = ThreadPoolExecutor(jobs)
    try:
        runs = [pool.submit(run, *key, settings[key]) for key in settings]
        for done in as_completed(runs):
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _train(
    train: Callable, name: str, seed: int, settings: Any, folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / 'log.txt', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    result = dict(settings=settings, **train(name, seed, folder))
    with replace_file(folder / 'result.json') as partial:
        Path(partial).write_text(json.dumps(result, indent=2))


def read_result(folder: Path) -> dict[str, Any]:
    """Read the result of a trial; empty if there is none."""
    path = folder / 'result.json'
    return json.loads(path.read_text()) if path.is_file() else {}


def collect_results(
    out: Path, names: Iterable[str]
) -> dict[str, list[dict[str, Any]]]:
    """Read the results of all trials that are done, by name."""
    found = {
        name: [
            read_result(path.parent)
            for path in sorted(out.glob(f'{name}_*/result.json'))
        ]
        for name in names
    }
    return {name: results for name, results in found.items() if results}


def describe_scores(scores: Sequence[float], digits: int) -> list[str]:
    """Format mean, standard deviation, least and largest."""
    spread = statistics.stdev(scores) if len(scores) > 1 else 0
    values = statistics.mean(scores), spread, min(scores), max(scores)
    return [f'{value:.{digits}f}' for value in values]


def draw_scores(
    scores: Mapping[str, Sequence[float]], label: str, target: Path
) -> None:
    """Draw a dot for every score and a line for every mean, a row a title."""
    figure = new_figure(7.6, 1.3 + 0.4 * len(scores))
    axes = figure.subplots()
    for row, values in enumerate(scores.values()):
        mean = statistics.mean(values)
        rows = [row] * len(values)
        axes.plot(values, rows, 'o', color=LINE_COLORS[1], ms=5)
        ends = [row - 0.3, row + 0.3]
        axes.plot([mean, mean], ends, color=LINE_COLORS[2], lw=2)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    finish_plot(axes, '', label, '')
    axes.grid(visible=False, axis='y')
    save_figure(figure, target)
