"""The command line ``mmvheat train``, ``tools/train.py``."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict
from mmengine.registry import RUNNERS

from mmvheat.datasets.checks import check_paths
from mmvheat.errors import UserError, is_local_main

from .arguments import add_options
from .config import enable_amp, load_config, set_work_dir
from .environment import choose_start, prepare_environment

_TRACKERS = dict(
    tensorboard='TensorboardVisBackend',
    wandb='WandbVisBackend',
    mlflow='MLflowVisBackend',
)


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
        choices=list(_TRACKERS),
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


def enable_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate with the batch size of this run."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise UserError(
            f'--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) '
            f'in {cfg.filename}; add it or set the lr by --cfg-options '
            'optim_wrapper.optimizer.lr=LR.'
        )
    cfg.auto_scale_lr.enable = True


def add_trackers(cfg: Config, names: Sequence[str]) -> None:
    """Log scalars to ``tensorboard``, ``wandb`` or ``mlflow`` as well.

    Raises:
        UserError: A tracker is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f'--track {name} needs the package {name}; run pip install '
                f'{name}.'
            )
        visualizer = cfg.setdefault('visualizer', dict(type='Visualizer'))
        backends = visualizer.setdefault(
            'vis_backends', [dict(type='LocalVisBackend')]
        )
        if _TRACKERS[name] not in {backend.type for backend in backends}:
            backends.append(ConfigDict(type=_TRACKERS[name]))
