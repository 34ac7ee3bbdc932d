"""Test a checkpoint and report its metrics.

    python tools/test.py CONFIG CHECKPOINT [--tta] [--show-dir DIR]
    tools/dist_test.sh CONFIG CHECKPOINT GPUS [the same options]

Prints the metrics as a table and writes them to ``metrics.json`` and
``metrics.md`` in the work dir (``metrics_tta.*`` with --tta).
"""

from __future__ import annotations

import argparse
import warnings

# Said whenever mmengine, mmdet and others are imported.
warnings.filterwarnings('ignore', '.*pkg_resources')

from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS

from mmvheat.commands.arguments import add_options
from mmvheat.commands.config import (
    enable_painting,
    enable_test_amp,
    enable_tta,
    set_work_dir,
)
from mmvheat.commands.environment import prepare_environment
from mmvheat.commands.testing import add_output, load_test_config, report
from mmvheat.datasets.checks import check_paths
from mmvheat.errors import is_local_main, run_main


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
