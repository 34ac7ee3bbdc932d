"""Test a checkpoint and report its metrics.

    python tools/test.py CONFIG CHECKPOINT [--tta] [--show-dir DIR]
    tools/dist_test.sh CONFIG CHECKPOINT GPUS [the same options]

Prints the metrics as a table and writes them to ``metrics.json`` and
``metrics.md`` in the work dir (``metrics_tta.*`` with --tta).
"""

from __future__ import annotations

import argparse
import json
import os.path as osp
import warnings
from numbers import Real
from operator import methodcaller

# Said whenever mmengine, mmdet and others are imported.
warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
warnings.filterwarnings('ignore', 'Deprecated call to `pkg_resources')

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from prettytable import PrettyTable, TableStyle

from mmvheat.commands.config import (
    ConfigOptions,
    enable_painting,
    enable_test_amp,
    enable_tta,
    load_config,
    set_work_dir,
)
from mmvheat.commands.environment import prepare_environment
from mmvheat.datasets.checks import check_paths
from mmvheat.errors import UserError, is_local_main, run_main


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Test a classifier, detector, segmentor or restorer.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='where the metrics go')
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bf16',
        choices=['bf16', 'fp16'],
        help='mixed precision; bf16 unless fp16 is named',
    )
    parser.add_argument(
        '--show-dir', help='paint predictions beside ground truth there'
    )
    parser.add_argument(
        '--out',
        help='write predictions: a .pkl file, or for segmentation a folder '
        'of label maps',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='change settings of the config',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='set by dist_test.sh and slurm_test.sh',
    )
    return parser.parse_args()


def add_output(cfg: Config, out: str) -> None:
    """Write predictions of the test to ``out``."""
    evaluators = cfg.test_evaluator
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    if cfg.default_scope == 'mmseg':
        if osp.splitext(out)[1]:
            raise UserError(
                f'--out {out} looks like a file; for segmentation give a '
                'folder, which receives one label map per image.'
            )
        evaluators[0].output_dir = out
    else:
        if not out.endswith(('.pkl', '.pickle')):
            raise UserError(f'--out {out} must end in .pkl.')
        kind = (
            'DumpDetResults'
            if cfg.default_scope == 'mmdet'
            else ('DumpResults')
        )
        evaluators = [*evaluators, dict(type=kind, out_file_path=out)]
    cfg.test_evaluator = evaluators


def report(cfg: Config, checkpoint: str, metrics: dict, tta: bool) -> None:
    """Print the metrics and write them to the work dir."""
    name = 'metrics_tta' if tta else 'metrics'
    record = dict(
        config=cfg.filename, checkpoint=checkpoint, tta=tta, metrics=metrics
    )
    with open(osp.join(cfg.work_dir, f'{name}.json'), 'w') as file:
        json.dump(record, file, indent=2, default=methodcaller('tolist'))
    table = PrettyTable(['metric', 'value'], align='l')
    table.set_style(TableStyle.MARKDOWN)
    for key, value in metrics.items():
        if isinstance(value, Real):  # not, say, a confusion matrix
            table.add_row([key, f'{value:.4g}'])
    with open(osp.join(cfg.work_dir, f'{name}.md'), 'w') as file:
        file.write(f'{table}\n')
    print_log(f'Metrics ({cfg.work_dir}/{name}.json)\n{table}', 'current')


def main() -> None:
    """Test."""
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise UserError(
            f'{args.config} has no test_dataloader or no test_evaluator; '
            'give a config that tests.'
        )
    cfg.load_from = args.checkpoint
    cfg.resume = False
    set_work_dir(cfg, args.work_dir)
    if args.tta:
        enable_tta(cfg)
    if args.amp:
        enable_test_amp(cfg, args.amp)
    if args.show_dir:
        enable_painting(cfg, args.show_dir)
    if args.out:
        add_output(cfg, args.out)
    if is_local_main():
        check_paths(cfg, ('test',))
    prepare_environment(cfg, args.launcher)

    runner = RUNNERS.build(cfg)
    metrics = runner.test()
    if is_main_process():
        report(cfg, args.checkpoint, metrics, args.tta)


if __name__ == '__main__':
    run_main(main)
