"""Train one classifier with every law of propagation, at equal budget.

    python tools/analysis_tools/ablate_propagators.py
    python tools/analysis_tools/ablate_propagators.py --laws heat wave \
        --seeds 0 1 2 3 4

The narrow vHeat of ``configs/quickstart/vheat-n_2e_digit-crops-32x32.py`` is
trained on the digit crops with each law and seed, 27 runs of half a minute.
Data that are not there are made. Runs that are done are not repeated, so that
the command may be interrupted and given again. Into ``--out-dir`` go the runs,
and ``ablation.md`` and ``ablation.png`` of those that are done. The data set
is tiny: it tells laws that work from those that do not, and no more.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import runpy
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from prettytable import PrettyTable, TableStyle

from mmvheat.checkpoint.writer import replace_file
from mmvheat.errors import UserError, run_main
from mmvheat.visualization import read_training_log

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/quickstart/vheat-n_2e_digit-crops-32x32.py'
DATA = 'data/digit_scenes'
METRIC = 'accuracy/top1'


PYTHONS = multiprocessing.get_context('forkserver')
"""Interpreters that have the libraries loaded: half of the time of a run."""
PYTHONS.set_forkserver_preload(['mmpretrain.apis', 'mmvheat.engine'])


class Law(NamedTuple):
    """What is trained: its title, and what it changes in the backbone."""

    title: str
    options: dict[str, object]


LAWS = {
    'heat': Law('heat, k predicted from the FVE', {}),
    'k1': Law('heat, k = 1', {'k': 1}),
    'k5': Law('heat, k = 5', {'k': 5}),
    'k20': Law('heat, k = 20', {'k': 20}),
    'scalar': Law('heat, k a learned scalar', {'k': 'scalar'}),
    'k0': Law('nothing spreads, k = 0', {'k': 0}),
    'fractional': Law(
        'fractional, alpha = 1', {'type': 'FractionalHeatPropagator'}
    ),
    'tail': Law('tail mix', {'type': 'TailPropagator'}),
    'wave': Law(
        'damped wave, v = 1, alpha = 0.1', {'type': 'DampedWavePropagator'}
    ),
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Train a classifier with every law of propagation.',
        allow_abbrev=False,
    )
    parser.add_argument(
        '--laws',
        nargs='+',
        choices=LAWS,
        default=list(LAWS),
        metavar='LAW',
        help=f'some of {", ".join(LAWS)} (default: all)',
    )
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0, 1, 2], help='default 0 1 2'
    )
    parser.add_argument(
        '--out-dir', type=Path, default=ROOT / 'work_dirs/ablation'
    )
    return parser.parse_args()


def list_options(law: Law) -> list[str]:
    """List the ``--cfg-options`` of a law."""
    names = {'type': 'propagator.type', 'k': 'k'}
    return [
        f'model.backbone.{names[key]}={value}'
        for key, value in law.options.items()
    ]


def train(name: str, seed: int, folder: Path) -> dict:
    """Train with one law and seed, unless that is done.

    Args:
        name (str): Of :data:`LAWS`.
        seed (int): Seed of weights, batches and augmentation.
        folder (Path): Work dir; ``result.json`` appears when it is done.

    Returns:
        dict: ``options``, ``seed``, ``accuracy`` in percent and ``seconds``.

    Raises:
        UserError: The run failed.
    """
    options = list_options(LAWS[name])
    done = folder / 'result.json'
    if done.is_file():
        result = json.loads(done.read_text())
        if result['options'] == options:
            return result
    command = ['tools/train.py', CONFIG, f'--work-dir={folder}']
    command += [f'--seed={seed}', '--cfg-options']
    # Nothing but the last checkpoint is of use, and not for long.
    command += ['default_hooks.checkpoint.interval=2', *options]
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    code = run_in_child(command, folder / 'log.txt')
    if code:
        raise UserError(
            f'Training with {name}, seed {seed}, ended with exit code '
            f'{code}; what it said is in {folder / "log.txt"}.'
        )
    result = dict(
        options=options,
        seed=seed,
        accuracy=read_training_log(folder).metrics[METRIC][-1][1],
        seconds=time.monotonic() - start,
    )
    with replace_file(done) as partial:
        Path(partial).write_text(json.dumps(result))
    return result


def run_in_child(command: list[str], log: Path) -> int:
    """Run ``python COMMAND`` into a log; return its exit code."""
    process = PYTHONS.Process(target=run_script, args=(command, log))
    process.start()
    try:
        process.join()
    finally:
        process.terminate()  # if the keyboard interrupts
    return process.exitcode


def run_script(command: list[str], log: Path) -> None:
    """Be ``python COMMAND``, printing to a file."""
    os.chdir(ROOT)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = command
    runpy.run_path(command[0], run_name='__main__')


def make_data() -> None:
    """Make the data set where it is not there."""
    if not (ROOT / DATA / 'classification').is_dir():
        tool = 'tools/dataset_converters/digit_scenes.py'
        subprocess.run(
            [sys.executable, tool, f'--out={DATA}'], cwd=ROOT, check=True
        )


def make_table(results: dict[str, list[dict]]) -> str:
    """Draw a table in markdown: accuracy of every law over the seeds."""
    table = PrettyTable(
        ['Law', 'Top-1 (%), mean', 'Deviation', 'Lowest', 'Highest', 'Runs']
    )
    table.set_style(TableStyle.MARKDOWN)
    table.align = 'r'
    table.align['Law'] = 'l'
    for name, runs in results.items():
        scores = [run['accuracy'] for run in runs]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0
        table.add_row(
            [LAWS[name].title, f'{statistics.mean(scores):.1f}']
            + [f'{s:.1f}' for s in (spread, min(scores), max(scores))]
            + [len(scores)]
        )
    return table.get_string()


def draw(results: dict[str, list[dict]], target: Path) -> None:
    """Draw a dot for every run and a line for every mean."""
    height = 1.3 + 0.38 * len(results)
    figure = Figure(figsize=(7.6, height), layout='constrained')
    axes = figure.subplots()
    for row, runs in enumerate(results.values()):
        scores = [run['accuracy'] for run in runs]
        mean = statistics.mean(scores)
        axes.plot(scores, [row] * len(scores), 'o', color='#1f5fa8', ms=5)
        axes.plot([mean, mean], [row - 0.3, row + 0.3], color='#d9662b', lw=2)
    axes.set_yticks(
        range(len(results)), [LAWS[name].title for name in results]
    )
    axes.invert_yaxis()
    axes.set_xlabel(
        'top-1 (%) on the digit crops of val: a dot a seed, a line the mean'
    )
    axes.grid(axis='x', alpha=0.25)
    axes.spines[['top', 'right']].set_visible(False)
    with replace_file(target) as partial:
        figure.savefig(partial, dpi=120, format='png')


def main() -> None:
    """Train what is not done, then report what is."""
    args = parse_args()
    out = args.out_dir.resolve()
    make_data()
    for seed in args.seeds:
        for name in args.laws:
            result = train(name, seed, out / f'{name}_{seed}')
            print(
                f'{name:12s} seed {seed}  {result["accuracy"]:5.1f} %  '
                f'{result["seconds"]:4.0f} s',
                flush=True,
            )
    results = {}
    for name, law in LAWS.items():
        runs = [
            json.loads(path.read_text())
            for path in sorted(out.glob(f'{name}_*/result.json'))
        ]
        runs = [run for run in runs if run['options'] == list_options(law)]
        if runs:
            results[name] = runs
    table = make_table(results)
    with replace_file(out / 'ablation.md') as partial:
        Path(partial).write_text(f'{table}\n')
    draw(results, out / 'ablation.png')
    print(f'\n{table}\n\n{out}/ablation.md, ablation.png')


if __name__ == '__main__':
    run_main(main)
