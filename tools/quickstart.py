"""vHeat from data to drawn predictions, in miniature, on any machine.

    python tools/quickstart.py [--from-scratch]

Runs the commands a researcher runs (each is printed), on handwritten digits:
makes the data, trains a classifier, converts its checkpoint to the larger
grid, fine-tunes Mask R-CNN and UperNet from it and tests both. Leaves under
``work_dirs/quickstart``:

    summary.md, summary.json   metrics, times, checksum of the data
    predictions.jpg            predictions beside ground truth
    curves.png                 losses and validation metrics
    heat/                      what the networks see, overview.png first
    logs/                      what every command printed
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from prettytable import PrettyTable, TableStyle

from mmvheat.commands.steps import Step, run_all
from mmvheat.visualization import plot_learning_curves
from mmvheat.visualization.scenes import draw_scenes

ROOT = Path(__file__).resolve().parents[1]
DATA = 'data/digit_scenes'
WORK = 'work_dirs/quickstart'
PRETRAINED = f'{WORK}/vheat-n_digits-192.pth'
CONFIGS = {
    'classification': 'configs/quickstart/vheat-n_12e_digit-crops-64x64.py',
    'mask_rcnn': 'configs/quickstart/mask-rcnn_vheat-n_fpn_2e_digit-scenes.py',
    'upernet': (
        'configs/quickstart/upernet_vheat-n_750i_digit-scenes-192x192.py'
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
SWIN = 'configs/mask_rcnn/mask-rcnn_swin-t_fpn_1x_coco.py'
SCENE = f'{DATA}/val/000015.jpg'
CROP = f'{DATA}/classification/val/7/0017_0.jpg'
SCRATCH = 'model.backbone.init_cfg=None'
SHOWN = (15, 18, 20)


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
    # Said by mmengine whenever it looks for a package.
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    start = time.monotonic()
    seconds = run_all(list_steps(args.from_scratch), ROOT, WORK)
    drawing = time.monotonic()
    draw_curves(args.from_scratch)
    draw_scenes(
        SHOWN,
        ROOT / DATA,
        ROOT / WORK / 'mask_rcnn/predictions.segm.json',
        ROOT / WORK / 'upernet/predictions',
        Config.fromfile(ROOT / CONFIGS['upernet']).metainfo,
        ROOT / WORK / 'predictions.jpg',
    )
    seconds['pictures'] = time.monotonic() - drawing
    total = time.monotonic() - start
    print(f'\n{write_summary(seconds, total, args.from_scratch)}\n')
    print(f'pictures  {WORK}/predictions.jpg, {WORK}/curves.png')
    print(f'heat      {WORK}/heat/overview.png and others beside it')
    print(f'table     {WORK}/summary.md')
    print(f'logs      {WORK}/logs')
    print(f'All took {total:.0f} s.')


# --- the steps ------------------------------------------------------------


def list_steps(from_scratch: bool) -> list[Step]:
    """List every step.

    ``{name}`` in a command is the last checkpoint of the run ``name``.
    """
    make = ['tools/dataset_converters/digit_scenes.py', '--out', DATA]
    convert = [
        *('interpolate4downstream.py', '--pt_size=64', '--tg_size=192'),
        *('--pt_pth={classification}', f'--tg_pth={PRETRAINED}', '--force'),
    ]
    steps = [
        Step('data', make, 20),
        train('classification', 'classification'),
        Step('convert', convert, 1),
        test('classification', 'classification'),
    ]
    for task, name in list_runs(from_scratch):
        options = [SCRATCH] if name != task else []
        steps.append(train(task, name, options))
        predictions = f'{WORK}/{name}/predictions'
        if task == 'mask_rcnn':
            options.append(f'test_evaluator.outfile_prefix={predictions}')
            steps.append(test(task, name, options))
        else:
            steps.append(test(task, name, options, f'--out={predictions}'))
            steps.append(test(task, name, options, '--tta'))
    return steps + list_pictures()


def list_pictures() -> list[Step]:
    """List the steps that draw what the networks see."""
    titles = ['vHeat-N, before', 'vHeat-N, trained', 'Swin-T, untrained']
    beside = ['--beside', SWIN, 'none', '--titles', *titles]
    return [
        look('overview', 'mask_rcnn', SCENE, beside),
        look('heat', 'mask_rcnn', SCENE, ['--sizes', '96', '192', '384']),
        look('features', 'mask_rcnn', SCENE),
        look('cam', 'classification', CROP),
    ]


def look(
    kind: str, task: str, image: str, options: Sequence[str] = ()
) -> Step:
    """Return the step that draws a kind of picture of a trained network."""
    command = [f'tools/visualization/vis_{kind}.py', CONFIGS[task]]
    command += [f'{{{task}}}', image, f'--out-dir={WORK}/heat', *options]
    return Step(f'draw {kind}', command, 5, choose_lane(task))


def list_runs(from_scratch: bool) -> list[tuple[str, str]]:
    """List task and name of the fine-tuning runs."""
    runs = [(task, task) for task in ('mask_rcnn', 'upernet')]
    if from_scratch:
        runs += [(task, f'{task}_scratch') for task, _ in runs]
    return runs


def train(task: str, name: str, options: Sequence[str] = ()) -> Step:
    """Return the step that trains a task in the work dir ``name``."""
    command = ['tools/train.py', CONFIGS[task], f'--work-dir={WORK}/{name}']
    if options:
        command += ['--cfg-options', *options]
    if task == 'classification':
        return Step(f'train {name}', command, 170)
    return Step(f'train {name}', command, 180, choose_lane(task))


def test(
    task: str, name: str, options: Sequence[str] = (), *flags: str
) -> Step:
    """Return the step that tests the last checkpoint of a run."""
    command = ['tools/test.py', CONFIGS[task], f'{{{name}}}']
    command += [f'--work-dir={WORK}/{name}', *flags]
    if options:
        command += ['--cfg-options', *options]
    name = f'test {name}{" with TTA" * ("--tta" in flags)}'
    return Step(name, command, 5, choose_lane(task))


def choose_lane(task: str) -> str:
    """Share what follows on the classifier out over two lanes."""
    return 'mask_rcnn' if task == 'mask_rcnn' else 'upernet'


# --- the report -----------------------------------------------------------


def draw_curves(from_scratch: bool) -> None:
    """Draw the losses and validation metrics of every run."""
    runs = {TITLES['classification']: {'': ROOT / WORK / 'classification'}}
    for task, name in list_runs(from_scratch):
        label = 'from scratch' if name != task else 'pre-trained'
        runs.setdefault(TITLES[task], {})[label] = ROOT / WORK / name
    plot_learning_curves(runs, ROOT / WORK / 'curves.png')


def write_summary(
    seconds: dict[str, float], total: float, from_scratch: bool
) -> str:
    """Write metrics, times and the checksum of the data; return the table.

    The steps took ``total`` seconds, which is less than their sum.
    """
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
        total_seconds=round(total, 1),
        data_sha256=meta['sha256'],
    )
    table = PrettyTable(header, align='l')
    table.set_style(TableStyle.MARKDOWN)
    table.align['value'] = table.align['training (s)'] = 'r'
    table.add_rows(rows)
    work = ROOT / WORK
    (work / 'summary.json').write_text(json.dumps(record, indent=2) + '\n')
    (work / 'summary.md').write_text(
        f'{table}\n\nAll steps took {total:.0f} s, some of them side by side; '
        f'SHA-256 of the data: {meta["sha256"]}\n'
    )
    return str(table)


if __name__ == '__main__':
    main()
