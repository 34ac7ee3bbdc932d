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
import itertools
import json
import multiprocessing
import os
import re
import runpy
import shlex
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import mmcv
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from prettytable import PrettyTable, TableStyle
from pycocotools import mask as coco_mask
from rich.console import Console
from rich.progress import Progress

from mmvheat.visualization import plot_learning_curves

ROOT = Path(__file__).resolve().parents[1]
DATA = 'data/digit_scenes'
WORK = 'work_dirs/quickstart'
LOGS = f'{WORK}/logs'
PRETRAINED = f'{WORK}/vheat-n_digits-192.pth'
CONFIGS = {
    'classification': 'configs/quickstart/vheat-n_12e_digit-crops-64x64.py',
    'mask_rcnn': 'configs/quickstart/mask-rcnn_vheat-n_fpn_2e_digit-scenes.py',
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
SWIN = 'configs/mask_rcnn/mask-rcnn_swin-t_fpn_1x_coco.py'
SCENE = f'{DATA}/val/000015.jpg'
CROP = f'{DATA}/classification/val/7/0017_0.jpg'
SCRATCH = 'model.backbone.init_cfg=None'
SHOWN = (15, 18, 20)
SCALE = 2
ETA = re.compile(r'\((?:train|test)\).*eta: (\d+):(\d\d):(\d\d)')


PYTHONS = multiprocessing.get_context('forkserver')
"""Interpreters that have the libraries loaded: that takes 10 s a step."""
PYTHONS.set_forkserver_preload(
    ['mmdet.apis', 'mmseg.apis', 'mmpretrain.apis', 'mmvheat']
)


class Step(NamedTuple):
    """A command.

    ``seconds`` is what it adds to the whole on two cores, about. Steps that
    name a ``lane`` wait for earlier ones in it alone: lanes run side by side.
    """

    name: str
    command: list[str]
    seconds: int
    lane: str = ''


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
    seconds = run_all(list_steps(args.from_scratch))
    drawing = time.monotonic()
    draw_curves(args.from_scratch)
    draw_predictions()
    seconds['pictures'] = time.monotonic() - drawing
    total = time.monotonic() - start
    print(f'\n{write_summary(seconds, total, args.from_scratch)}\n')
    print(f'pictures  {WORK}/predictions.jpg, {WORK}/curves.png')
    print(f'heat      {WORK}/heat/overview.png and others beside it')
    print(f'table     {WORK}/summary.md')
    print(f'logs      {LOGS}')
    print(f'All took {total:.0f} s.')


# --- the steps ------------------------------------------------------------


def run_all(steps: Sequence[Step]) -> dict[str, float]:
    """Run every step, telling how far it is; return the seconds of each."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f'{len(steps)} steps; what they print goes to {LOGS}.')
    (ROOT / LOGS).mkdir(parents=True, exist_ok=True)
    names = [step.name for step in steps]
    seconds, shares = {}, dict.fromkeys(names, 0.0)
    start = time.monotonic()
    with Progress(
        *Progress.get_default_columns(),
        console=console,
        disable=not console.is_terminal,
        speed_estimate_period=3600,
    ) as progress:
        total = sum(step.seconds for step in steps)
        bar = progress.add_task('', total=total)
        for step, command, share in run_stages(steps):
            label = f'[{names.index(step.name) + 1}/{len(steps)}]'
            if share == 0.0:
                console.print(f'{label} python {shlex.join(command)}')
                seconds[step.name] = -time.monotonic()
            shares[step.name] = share
            done = sum(shares[step.name] * step.seconds for step in steps)
            progress.update(bar, description=step.name, completed=done)
            if share == 1.0:
                now = time.monotonic()
                seconds[step.name] += now
                left = (now - start) * (total / done - 1) / 60
                console.print(
                    f'{label} took {seconds[step.name]:.0f} s, about '
                    f'{left:.0f} min left'
                )
    return seconds


def run_stages(
    steps: Sequence[Step],
) -> Iterator[tuple[Step, list[str], float]]:
    """Run steps one by one, those of lanes side by side.

    Yields:
        tuple[Step, list[str], float]: A step, its command, and which share of
        it is done: 0 before it starts, 1 when it ended.
    """
    numbered = list(enumerate(steps, 1))
    for _, stage in itertools.groupby(numbered, lambda s: s[1].lane != ''):
        lanes = {}
        for number, step in stage:
            lanes.setdefault(step.lane, []).append((number, step))
        running = [run_lane(lane) for lane in lanes.values()]
        try:
            while running:
                for lane in running.copy():
                    try:
                        yield next(lane)
                    except StopIteration:
                        running.remove(lane)
        finally:
            for lane in running:
                lane.close()


def run_lane(
    lane: Sequence[tuple[int, Step]],
) -> Iterator[tuple[Step, list[str], float]]:
    """Run numbered steps one after the other, see :func:`run_stages`."""
    for number, step in lane:
        checkpoints = read_checkpoints()
        command = [part.format(**checkpoints) for part in step.command]
        log = f'{LOGS}/{number:02d}_{step.name.replace(" ", "_")}.log'
        yield step, command, 0.0
        for share in run_step(step.name, command, log):
            yield step, command, share
        yield step, command, 1.0


def run_step(name: str, command: Sequence[str], log: str) -> Iterator[float]:
    """Run a command; yield which share of it is done, between 0 and 1.

    The share comes from the ``eta`` in the lines of mmengine.
    """
    start, share = time.monotonic(), 0.001
    (ROOT / log).touch()
    process = PYTHONS.Process(target=run_script, args=(command, ROOT, log))
    process.start()
    try:
        while process.exitcode is None:
            process.join(0.2)
            found = ETA.findall((ROOT / log).read_text())
            if found:
                h, m, s = map(int, found[-1])
                spent = time.monotonic() - start
                share = max(share, spent / (spent + s + 60 * (m + 60 * h)))
            yield min(share, 0.999)
    finally:
        process.terminate()  # if the keyboard or another lane interrupts
        process.join()
    if process.exitcode:
        tail = (ROOT / log).read_text().splitlines()[-15:]
        raise SystemExit(
            '\n'.join(tail) + f'\nquickstart: the step "{name}" failed with '
            f'exit code {process.exitcode}; all it printed is in {log}.'
        )


def run_script(command: Sequence[str], folder: Path, log: str) -> None:
    """Be ``python COMMAND`` in a folder, printing to a file there.

    With one thread: networks this small are hardly faster with two, and many
    times slower where another program runs beside them.
    """
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    sys.argv = list(command)
    runpy.run_path(command[0], run_name='__main__')


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
        look('heat', 'upernet', SCENE, ['--sizes', '96', '192', '384']),
        look('features', 'upernet', SCENE),
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
        return Step(f'train {name}', command, 200)
    return Step(f'train {name}', command, 145, choose_lane(task))


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


def read_checkpoints() -> dict[str, str]:
    """Find the last checkpoint of every run so far."""
    return {
        path.parent.name: path.read_text().strip()
        for path in (ROOT / WORK).glob('*/last_checkpoint')
    }


# --- the report -----------------------------------------------------------


def draw_curves(from_scratch: bool) -> None:
    """Draw the losses and validation metrics of every run."""
    runs = {TITLES['classification']: {'': ROOT / WORK / 'classification'}}
    for task, name in list_runs(from_scratch):
        label = 'from scratch' if name != task else 'pre-trained'
        runs.setdefault(TITLES[task], {})[label] = ROOT / WORK / name
    plot_learning_curves(runs, ROOT / WORK / 'curves.png')


def draw_predictions() -> None:
    """Let mmdet and mmseg draw truth and prediction on scenes of val."""
    from mmdet.visualization import DetLocalVisualizer
    from mmseg.visualization import SegLocalVisualizer

    meta = Config.fromfile(ROOT / CONFIGS['upernet']).metainfo
    detector = DetLocalVisualizer(line_width=2, alpha=0.6)
    detector.dataset_meta = dict(
        classes=meta.classes[1:], palette=list(map(tuple, meta.palette[1:]))
    )
    segmentor = SegLocalVisualizer(alpha=0.6)
    segmentor.set_dataset_meta(meta.classes, meta.palette)
    figure = Figure(figsize=(16, 4.1 * len(SHOWN)), layout='constrained')
    axes = figure.subplots(len(SHOWN), 4)
    columns = [
        ('Mask R-CNN: truth', detector, True),
        ('Mask R-CNN: prediction', detector, False),
        ('UperNet: truth', segmentor, True),
        ('UperNet: prediction', segmentor, False),
    ]
    for row, number in zip(axes, SHOWN):
        image, *samples = read_scene(number)
        for axis, (title, visualizer, is_truth) in zip(row, columns):
            visualizer.add_datasample(
                '',
                image,
                samples[visualizer is segmentor],
                draw_gt=is_truth,
                draw_pred=not is_truth,
            )
            axis.imshow(visualizer.get_image())
            axis.set_title(title)
            axis.axis('off')
    figure.savefig(ROOT / WORK / 'predictions.jpg', dpi=100)


def read_scene(number: int) -> tuple:
    """Read a scene of val, enlarged, so that names on it are legible.

    Returns:
        tuple[np.ndarray, DetDataSample, SegDataSample]: The picture and what
        is true and was predicted.
    """
    from mmdet.structures import DetDataSample
    from mmseg.structures import SegDataSample

    data, work, name = ROOT / DATA, ROOT / WORK, f'{number:06d}'
    image = mmcv.imread(data / f'val/{name}.jpg', channel_order='rgb')
    image = mmcv.imrescale(image, float(SCALE), interpolation='bicubic')
    truth = json.loads((data / 'annotations/instances_val.json').read_text())
    found = json.loads((work / 'mask_rcnn/predictions.segm.json').read_text())
    instances = DetDataSample(
        gt_instances=pack_instances(truth['annotations'], number, image),
        pred_instances=pack_instances(found, number, image),
    )
    label_maps = SegDataSample(
        gt_sem_seg=read_label_map(data / f'label_maps/val/{name}.png'),
        pred_sem_seg=read_label_map(work / f'upernet/predictions/{name}.png'),
    )
    return image, instances, label_maps


def pack_instances(
    items: list[dict], number: int, image: np.ndarray
) -> InstanceData:
    """Pack the instances of a scene, in the format of COCO, for mmdet."""
    items = [item for item in items if item['image_id'] == number]
    boxes = torch.tensor([item['bbox'] for item in items]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = [enlarge(coco_mask.decode(i['segmentation'])) for i in items]
    instances = InstanceData(
        bboxes=boxes * SCALE,
        labels=torch.tensor([item['category_id'] - 1 for item in items]),
        masks=torch.tensor(np.array(masks)).reshape(-1, *image.shape[:2]),
    )
    if all('score' in item for item in items):  # what is true has none
        instances.scores = torch.tensor([item['score'] for item in items])
    return instances


def read_label_map(path: Path) -> PixelData:
    """Read a label map, the background (0) unmarked, for mmseg."""
    labels = enlarge(mmcv.imread(path, flag='unchanged'))
    return PixelData(data=torch.tensor(np.where(labels, labels, 255)[None]))


def enlarge(labels: np.ndarray) -> np.ndarray:
    """Repeat the pixels of a label map or mask (H, W)."""
    return labels.repeat(SCALE, 0).repeat(SCALE, 1)


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
