"""The command line ``mmvheat train``, ``tools/train.py``."""

from __future__ import annotations

import argparse

from mmengine.registry import RUNNERS

from mmvheat.datasets.checks import check_paths
from mmvheat.errors import UserError, is_local_main

from .arguments import add_options
from .config import (
    add_trackers,
    enable_amp,
    enable_auto_scale_lr,
    load_config,
    set_work_dir,
)
from .environment import choose_start, prepare_environment


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Train a classifier, detector, segmentor or restorer.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from a checkpoint, or from the newest complete one '
        'of the work dir',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the lr by batch size / auto_scale_lr.base_batch_size',
    )
    parser.add_argument('--seed', type=int, help='seed of everything random')
    parser.add_argument(
        '--track',
        nargs='+',
        default=[],
        choices=['tensorboard', 'wandb', 'mlflow'],
        help='log to these as well',
    )
    add_options(parser, '--amp', '--cfg-options', '--launcher')
    return parser.parse_args()


def main() -> None:
    """Train."""
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    if not cfg.get('train_dataloader') or not cfg.get('optim_wrapper'):
        raise UserError(
            f'{args.config} has no train_dataloader or no optim_wrapper; '
            'give a config made for training.'
        )
    set_work_dir(cfg, args.work_dir)
    if args.amp:
        enable_amp(cfg, args.amp)
    if args.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if args.seed is not None:
        cfg.setdefault('randomness', {})
        cfg.randomness.seed = args.seed
    add_trackers(cfg, args.track)
    if is_local_main():
        check_paths(cfg, ('train', 'val'))
    prepare_environment(cfg, args.launcher)
    choose_start(cfg, args.resume)

    runner = RUNNERS.build(cfg)
    runner.train()
