"""vHeat from data to drawn predictions, in miniature, on any machine.

    python tools/quickstart.py [--from-scratch]

Runs the commands a researcher runs (each is printed), on handwritten digits:
makes the data, trains a classifier, converts its checkpoint to the larger
grid, fine-tunes Mask R-CNN and UperNet from it and tests both. Leaves under
``work_dirs/quickstart``:

    summary.md, summary.json   metrics, times, checksum of the data
    predictions.png            predictions beside ground truth
    curves.png                 losses and validation metrics
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
from mmengine.config import Config
from pycocotools import mask as coco_mask

from mmvheat.visualization import (
    markdown_table,
    montage,
    paint_detection,
    paint_segmentation,
    plot_learning_curves,
)

ROOT = Path(__file__).resolve().parents[1]
DATA = 'data/digit_scenes'
WORK = 'work_dirs/quickstart'
PRETRAINED = f'{WORK}/vheat-n_digits-192.pth'
CONFIGS = {
    'classification': 'configs/quickstart/vheat-n_16e_digit-crops-64x64.py',
    'mask_rcnn': 'configs/quickstart/mask-rcnn_vheat-n_fpn_3e_digit-scenes.py',
    'upernet': (
        'configs/quickstart/upernet_vheat-n_600i_digit-scenes-192x192.py'
    ),
}
TITLES = {
    'classification': 'Classification, 64x64',
    'mask_rcnn': 'Mask R-CNN, 192x192',
    'upernet': 'UperNet, 192x192',
}
METRICS = {
    'classification': {'top-1 (%)': 'accuracy/top1'},
    'mask_rcnn': {'box mAP': 'coco/bbox_mAP', 'mask mAP': 'coco/segm_mAP'},
    'upernet': {'mIoU (%)': 'mIoU'},
}
SCRATCH = 'model.backbone.init_cfg=None'
SHOWN = ('000015', '000018', '000020')


def main() -> None:
    """Run every step, then report."""
    parser = argparse.ArgumentParser(
        description='vHeat from data to drawn predictions, in miniature.'
    )
    parser.add_argument(
        '--from-scratch',
        action='store_true',
        help='also train Mask R-CNN and UperNet without the pre-training, '
        'to compare; takes twice the time',
    )
    args = parser.parse_args()
    start = time.monotonic()
    seconds = run_all(args.from_scratch)
    seconds['report'] = write_report(args.from_scratch)
    summary = write_summary(seconds, args.from_scratch)
    print(f'\n{summary}\nAll in {WORK}; {time.monotonic() - start:.0f} s.')


# --- the steps ------------------------------------------------------------


def run_all(from_scratch: bool) -> dict[str, float]:
    """Run every step; return the seconds each took."""
    seconds = {}
    for step, command in list_steps(from_scratch):
        command = [part.format(**read_checkpoints()) for part in command]
        print(f'\n[{step}] python {shlex.join(command)}', flush=True)
        start = time.monotonic()
        result = subprocess.run([sys.executable, *command], cwd=ROOT)
        if result.returncode:
            raise SystemExit(
                f'quickstart: the step "{step}" failed with exit code '
                f'{result.returncode}; its own message stands above.'
            )
        seconds[step] = time.monotonic() - start
    return seconds


def list_steps(from_scratch: bool) -> list[tuple[str, list[str]]]:
    """List the name and command of every step.

    ``{name}`` in a command is the last checkpoint of the run ``name``.
    """
    steps = [
        ('data', ['tools/dataset_converters/digit_scenes.py', '--out', DATA]),
        train('classification', 'classification'),
        test('classification', 'classification'),
        (
            'convert',
            ['interpolate4downstream.py', '--pt_size=64', '--tg_size=192']
            + ['--pt_pth={classification}', f'--tg_pth={PRETRAINED}']
            + ['--force'],
        ),
    ]
    for task, name in list_runs(from_scratch):
        options = [SCRATCH] if name != task else []
        steps.append(train(task, name, options))
        if task == 'mask_rcnn':
            prefix = f'{WORK}/{name}/predictions'
            options = [*options, f'test_evaluator.outfile_prefix={prefix}']
            steps.append(test(task, name, options))
        else:
            folder = f'{WORK}/{name}/predictions'
            steps.append(test(task, name, options, f'--out={folder}'))
            steps.append(test(task, name, options, '--tta'))
    return steps


def list_runs(from_scratch: bool) -> list[tuple[str, str]]:
    """List task and name of the fine-tuning runs."""
    runs = [(task, task) for task in ('mask_rcnn', 'upernet')]
    if from_scratch:
        runs += [(task, f'{task}_scratch') for task, _ in runs]
    return runs


def train(task: str, name: str, options: Sequence[str] = ()) -> tuple:
    """Return the step that trains a task in the work dir ``name``."""
    command = ['tools/train.py', CONFIGS[task], f'--work-dir={WORK}/{name}']
    if options:
        command += ['--cfg-options', *options]
    return f'train {name}', command


def test(
    task: str, name: str, options: Sequence[str] = (), *flags: str
) -> tuple:
    """Return the step that tests the last checkpoint of a run."""
    command = ['tools/test.py', CONFIGS[task], f'{{{name}}}']
    command += [f'--work-dir={WORK}/{name}', *flags]
    if options:
        command += ['--cfg-options', *options]
    return f'test {name}{" with TTA" * ("--tta" in flags)}', command


def read_checkpoints() -> dict[str, str]:
    """Find the last checkpoint of every run so far."""
    return {
        path.parent.name: path.read_text().strip()
        for path in (ROOT / WORK).glob('*/last_checkpoint')
    }


# --- the report -----------------------------------------------------------


def write_report(from_scratch: bool) -> float:
    """Draw curves and predictions; return the seconds it took."""
    start = time.monotonic()
    runs = {
        TITLES['classification']: {'': ROOT / WORK / 'classification'},
    }
    for task, name in list_runs(from_scratch):
        label = 'from scratch' if name != task else 'pre-trained'
        runs.setdefault(TITLES[task], {})[label] = ROOT / WORK / name
    plot_learning_curves(runs, ROOT / WORK / 'curves.png')
    sheet = montage(
        [paint_row(name) for name in SHOWN],
        ['Mask R-CNN: truth', 'prediction', 'UperNet: truth', 'prediction'],
    )
    mmcv.imwrite(sheet[..., ::-1], str(ROOT / WORK / 'predictions.png'))
    return time.monotonic() - start


def paint_row(name: str, scale: int = 2) -> list[np.ndarray]:
    """Paint truth and prediction of both models on a validation scene."""
    data, work = ROOT / DATA, ROOT / WORK
    image = mmcv.imread(data / 'val' / f'{name}.jpg', channel_order='rgb')
    truth = json.loads((data / 'annotations/instances_val.json').read_text())
    found = json.loads((work / 'mask_rcnn/predictions.segm.json').read_text())
    row = []
    for instances in (truth['annotations'], found):
        instances = [
            instance
            for instance in instances
            if instance['image_id'] == int(name)
            and instance.get('score', 1) > 0.5
        ]
        boxes = np.array([instance['bbox'] for instance in instances])
        boxes = boxes.reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [instance['category_id'] - 1 for instance in instances]
        masks = [
            coco_mask.decode(instance['segmentation']) > 0
            for instance in instances
        ]
        scores = [i['score'] for i in instances if 'score' in i]
        row.append(
            paint_detection(
                image,
                boxes,
                np.array(labels, int),
                np.array(masks, bool).reshape(-1, *image.shape[:2]),
                np.array(scores) if scores else None,
                scale=scale,
            )
        )
    metainfo = Config.fromfile(ROOT / CONFIGS['upernet']).metainfo
    for folder in (data / 'label_maps/val', work / 'upernet/predictions'):
        label_map = mmcv.imread(folder / f'{name}.png', flag='unchanged')
        row.append(
            paint_segmentation(
                image,
                label_map,
                metainfo['palette'],
                metainfo['classes'],
                scale=scale,
            )
        )
    return row


def write_summary(seconds: dict[str, float], from_scratch: bool) -> str:
    """Write metrics, times and the checksum of the data; return the table."""
    tests = [('classification', 'classification', False)]
    for task, name in list_runs(from_scratch):
        tests.append((task, name, False))
        if task == 'upernet':
            tests.append((task, name, True))
    rows = []
    for task, name, tta in tests:
        path = ROOT / WORK / name / f'metrics{"_tta" * tta}.json'
        metrics = json.loads(path.read_text())['metrics']
        start = 'scratch'
        if name == task != 'classification':
            start = 'pre-trained'
        for label, key in METRICS[task].items():
            label += ', multi-scale' * tta
            value = round(float(metrics[key]), 3)
            trained = round(seconds[f'train {name}'])
            rows.append([TITLES[task], start, label, value, trained])
    header = ['run', 'start', 'metric', 'value', 'training (s)']
    meta = json.loads((ROOT / DATA / 'meta.json').read_text())
    record = dict(
        results=[dict(zip(header, row)) for row in rows],
        seconds={step: round(value, 1) for step, value in seconds.items()},
        data_sha256=meta['sha256'],
    )
    table = markdown_table(header, rows)
    work = ROOT / WORK
    (work / 'summary.json').write_text(json.dumps(record, indent=2) + '\n')
    (work / 'summary.md').write_text(
        f'{table}\nAll steps took {sum(seconds.values()):.0f} s; SHA-256 of '
        f'the data: {meta["sha256"]}\n'
    )
    return table


if __name__ == '__main__':
    main()
