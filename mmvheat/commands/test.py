"""The command line ``mmvheat test``, ``tools/test.py``."""

from __future__ import annotations

import argparse
import json
import os.path as osp
from numbers import Real
from operator import methodcaller

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from prettytable import PrettyTable, TableStyle

import mmvheat.engine  # noqa: F401  its hooks
from mmvheat.datasets.checks import check_paths
from mmvheat.errors import UserError, is_local_main

from .arguments import add_options
from .config import (
    enable_painting,
    enable_test_amp,
    enable_tta,
    load_config,
    make_folder,
    set_work_dir,
)
from .environment import prepare_environment


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
        '--show-dir', help='paint predictions beside ground truth there'
    )
    parser.add_argument(
        '--out',
        help='write predictions: a .pkl file, or for segmentation a folder '
        'of label maps',
    )
    add_options(parser, '--amp', '--cfg-options', '--launcher')
    return parser.parse_args()


def main() -> None:
    """Test."""
    args = parse_args()
    cfg = load_test_config(args.config, args.checkpoint, args.cfg_options)
    set_work_dir(cfg, args.work_dir)
    if args.tta:
        enable_tta(cfg)
    if args.amp:
        enable_test_amp(cfg, args.amp)
    if args.show_dir:
        make_folder(args.show_dir, '--show-dir')
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


def load_test_config(
    path: str, checkpoint: str, options: dict | None = None
) -> Config:
    """Read a config and let it test a checkpoint.

    Args:
        path (str): The config file.
        checkpoint (str): The checkpoint.
        options (dict, optional): ``--cfg-options``, keys with dots.

    Raises:
        UserError: As :func:`load_config`; or the config tests nothing.
    """
    cfg = load_config(path, options)
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise UserError(
            f'{path} has no test_dataloader or no test_evaluator; '
            'give a config that tests.'
        )
    cfg.load_from = checkpoint
    cfg.resume = False
    hooks = [*(cfg.get('custom_hooks') or []), dict(type='CheckWeightsHook')]
    cfg.custom_hooks = hooks
    return cfg


def add_output(cfg: Config, out: str) -> None:
    """Write predictions of the test.

    Args:
        cfg (Config): The config to change.
        out (str): A .pkl file; for segmentation a folder of label maps.

    Raises:
        UserError: It is the other, or cannot be written.
    """
    evaluators = cfg.test_evaluator
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    if cfg.default_scope == 'mmseg':
        if osp.splitext(out)[1]:
            raise UserError(
                f'--out {out} looks like a file; for segmentation give a '
                'folder, which receives one label map per image.'
            )
        make_folder(out, '--out')
        evaluators[0].output_dir = out
    else:
        if not out.endswith(('.pkl', '.pickle')):
            raise UserError(f'--out {out} must end in .pkl.')
        make_folder(osp.dirname(out) or '.', '--out')
        kind = 'DumpResults'
        if cfg.default_scope == 'mmdet':
            kind = 'DumpDetResults'
        evaluators = [*evaluators, dict(type=kind, out_file_path=out)]
    cfg.test_evaluator = evaluators


def report(cfg: Config, checkpoint: str, metrics: dict, tta: bool) -> None:
    """Print the metrics and write them to the work dir."""
    name = 'metrics_tta' if tta else 'metrics'
    record = dict(
        config=cfg.filename, checkpoint=checkpoint, tta=tta, metrics=metrics
    )
    target = osp.join(cfg.work_dir, name)
    with open(f'{target}.json', 'w') as file:
        json.dump(record, file, indent=2, default=methodcaller('tolist'))
    table = PrettyTable(['metric', 'value'], align='l')
    table.set_style(TableStyle.MARKDOWN)
    for key, value in metrics.items():
        if isinstance(value, Real):  # not, say, a confusion matrix
            table.add_row([key, f'{value:.4g}'])
    with open(f'{target}.md', 'w') as file:
        file.write(f'{table}\n')
    print_log(f'Metrics ({target}.json)\n{table}', 'current')
