"""The command line ``mmvheat test``, ``tools/test.py``."""

from __future__ import annotations

import argparse
import copy
import json
import os.path as osp
from collections.abc import Sequence
from numbers import Real
from operator import methodcaller

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from prettytable import PrettyTable, TableStyle

import mmvheat.engine  # noqa: F401  its hooks
from mmvheat.datasets.checks import check_paths
from mmvheat.errors import UserError, is_local_main

from .arguments import add_options
from .config import (
    enable_test_amp,
    innermost_dataset,
    load_config,
    make_folder,
    set_work_dir,
)
from .environment import prepare_environment

_TTA_MODELS = dict(
    mmdet=ConfigDict(
        type='InstanceTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    ),
    mmpretrain=ConfigDict(type='AverageClsScoreTTA'),
)


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
    path: str, checkpoint: str, options: dict | None
) -> Config:
    """Read a config and let it test a checkpoint.

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


def enable_tta(cfg: Config) -> None:
    """Test with test-time augmentation.

    Restorers take the mean over the eight symmetries of the square.
    Detectors and classifiers whose config has none see each image and its
    mirror image. mmdet's ``DetTTAModel`` fails on masks, so that
    ``InstanceTTAModel`` takes its place for a detector with a mask head.

    Raises:
        UserError: The config, of a segmentor, has no ``tta_model`` or
            ``tta_pipeline``.
    """
    if cfg.default_scope == 'mmengine':
        cfg.model.self_ensemble = True
        return
    dataset = innermost_dataset(cfg.test_dataloader.dataset)
    if cfg.default_scope in _TTA_MODELS:
        if 'tta_model' not in cfg:
            cfg.tta_model = copy.deepcopy(_TTA_MODELS[cfg.default_scope])
        if 'tta_pipeline' not in cfg:
            cfg.tta_pipeline = _add_mirror_image(dataset.pipeline)
    missing = [k for k in ('tta_model', 'tta_pipeline') if k not in cfg]
    if missing:
        raise UserError(
            f'--tta needs {" and ".join(missing)} in {cfg.filename}, which '
            'has none; inherit from default_runtime.py of mmseg, or test '
            'without --tta.'
        )
    if cfg.tta_model.type == 'DetTTAModel' and _predicts_masks(cfg.model):
        cfg.tta_model.type = 'InstanceTTAModel'
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline


def _add_mirror_image(pipeline: Sequence[ConfigDict]) -> list[ConfigDict]:
    """Let a test pipeline give an image and its mirror image."""
    *steps, pack = copy.deepcopy(list(pipeline))
    if pack.type == 'PackDetInputs' and 'meta_keys' in pack:
        pack.meta_keys = (*pack.meta_keys, 'flip', 'flip_direction')
    flips = [ConfigDict(type='RandomFlip', prob=p) for p in (0.0, 1.0)]
    views = ConfigDict(type='TestTimeAug', transforms=[flips, [pack]])
    return [*steps, views]


def _predicts_masks(model: ConfigDict) -> bool:
    heads = [model, model.get('roi_head') or {}]
    return any(head.get('mask_head') for head in heads)


def enable_painting(cfg: Config, folder: str) -> None:
    """Paint the images of a test into a folder by the library's own hook.

    Raises:
        UserError: The config is a restorer's.
    """
    if cfg.default_scope == 'mmengine':
        raise UserError(
            '--show-dir draws boxes, label maps and classes; restored images '
            'are drawn by tools/infer.py.'
        )
    folder = osp.abspath(folder)
    options = dict(
        mmdet=dict(
            type='DetVisualizationHook', draw=True, test_out_dir=folder
        ),
        mmseg=dict(type='SegVisualizationHook', draw=True, interval=1),
        mmpretrain=dict(
            type='VisualizationHook', enable=True, interval=1, out_dir=folder
        ),
    )
    cfg.setdefault('default_hooks', {})
    cfg.default_hooks.visualization = options[cfg.default_scope]
    if cfg.default_scope == 'mmseg':  # its visualizer chooses the folder
        cfg.visualizer.save_dir = folder


def add_output(cfg: Config, out: str) -> None:
    """Write predictions to a .pkl file; for segmentation, label maps.

    Raises:
        UserError: ``out`` is a file where a folder is needed, no .pkl, or
            cannot be written.
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
        kinds = dict(mmdet='DumpDetResults')
        kind = kinds.get(cfg.default_scope, 'DumpResults')
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
