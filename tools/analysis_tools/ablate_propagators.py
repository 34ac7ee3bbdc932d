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
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.registry import RUNNERS

from mmvheat.analysis import trials
from mmvheat.analysis.tables import make_table
from mmvheat.checkpoint.writer import replace_file
from mmvheat.commands.config import load_config
from mmvheat.datasets import make_digit_scenes
from mmvheat.errors import run_main
from mmvheat.visualization import read_training_log

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/quickstart/vheat-n_2e_digit-crops-32x32.py'
DATA = 'data/digit_scenes'
METRIC = 'accuracy/top1'
COLUMNS = ['Law', 'Top-1 (%), mean', 'Deviation', 'Lowest', 'Highest', 'Runs']


class Law(NamedTuple):
    """What is trained: its title, and what it changes in the backbone."""

    title: str
    options: dict[str, Any]


def _list_laws() -> dict[str, Law]:
    laws = {'heat': Law('heat, k predicted from the FVE', {})}
    for k in (1, 5, 20):
        laws[f'k{k}'] = Law(f'heat, k = {k}', {'k': k})
    laws['scalar'] = Law('heat, k a learned scalar', {'k': 'scalar'})
    laws['k0'] = Law('nothing spreads, k = 0', {'k': 0})
    for name, title, kind in (
        ('fractional', 'fractional, alpha = 1', 'FractionalHeatPropagator'),
        ('tail', 'tail mix', 'TailPropagator'),
        ('wave', 'damped wave, v = 1, alpha = 0.1', 'DampedWavePropagator'),
    ):
        laws[name] = Law(title, {'propagator.type': kind})
    return laws


LAWS = _list_laws()


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


def list_options(law: Law) -> dict[str, Any]:
    """List the ``--cfg-options`` of a law."""
    return {f'model.backbone.{k}': value for k, value in law.options.items()}


def train(name: str, seed: int, folder: Path) -> dict[str, float]:
    """Train with one law and seed.

    Args:
        name (str): Of :data:`LAWS`.
        seed (int): Seed of weights, batches and augmentation.
        folder (Path): Work dir.

    Returns:
        dict: ``accuracy`` in percent and ``seconds``.
    """
    start = time.monotonic()
    cfg = load_config(str(ROOT / CONFIG), list_options(LAWS[name]))
    # Nothing but the last checkpoint is of use, and not for long.
    cfg.default_hooks.checkpoint.interval = 2
    cfg.randomness = dict(seed=seed)
    cfg.work_dir = str(folder)
    RUNNERS.build(cfg).train()
    accuracy = read_training_log(folder).metrics[METRIC][-1][1]
    return dict(accuracy=accuracy, seconds=time.monotonic() - start)


def main() -> None:
    """Train what is not done, then report what is."""
    args = parse_args()
    out = args.out_dir.resolve()
    os.chdir(ROOT)  # where the config looks for the data
    if not Path(DATA, 'classification').is_dir():
        make_digit_scenes(DATA)
    settings = {
        (name, seed): dict(options=list_options(LAWS[name]), seed=seed)
        for seed in args.seeds
        for name in args.laws
    }
    trials.run_trials(train, settings, out, preload=['mmpretrain.apis'])
    results = {}
    for name, runs in trials.collect_results(out, LAWS).items():
        options = list_options(LAWS[name])
        runs = [r for r in runs if r['settings']['options'] == options]
        results[LAWS[name].title] = [run['accuracy'] for run in runs]
    table = make_table(
        COLUMNS,
        (
            [title, *trials.describe_scores(scores, 1), len(scores)]
            for title, scores in results.items()
        ),
    )
    with replace_file(out / 'ablation.md') as partial:
        Path(partial).write_text(f'{table}\n')
    label = 'top-1 (%) on the digit crops of val: '
    label += 'a dot a seed, a line the mean'
    trials.draw_scores(results, label, out / 'ablation.png')
    print(f'\n{table}\n\n{out}/ablation.md, ablation.png')


if __name__ == '__main__':
    run_main(main)
