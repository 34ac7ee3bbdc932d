"""The quickstart: its steps, what it shows of them, and its report."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from pycocotools import mask as coco_mask

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    'good.py': 'print("fine")',
    'bad.py': 'raise SystemExit("why")',
    'talk.py': 'print(*range(999), sep="\\n")',
    'meet.py': """
import sys, time
from pathlib import Path
import torch
print(torch.get_num_threads(), time.time())
name = sys.argv[1]
Path(name).touch()
other = Path(dict(a='b', b='a').get(name, name))
for _ in range(40):
    if not other.exists():
        time.sleep(0.25)
print(time.time() if other.exists() else 0)
""",
    'train.py': """
import time
for left in (9, 4):
    print(f'INFO - Epoch(train) [1]eta: 0:00:0{left} x', flush=True)
    time.sleep(1.2)
""",
}


@pytest.fixture
def quickstart(tmp_path, monkeypatch) -> ModuleType:
    """The module, with an almost empty folder for its root."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    module = importlib.import_module('quickstart')
    monkeypatch.setattr(module, 'ROOT', tmp_path)
    (tmp_path / module.LOGS).mkdir(parents=True)
    for name, script in SCRIPTS.items():
        (tmp_path / name).write_text(script)
    return module


def test_steps_name_files_that_exist(quickstart):
    for step in quickstart.list_steps(from_scratch=True):
        assert (ROOT / step.command[0]).is_file()
        for part in step.command[1:]:
            assert not part.startswith('configs/') or (ROOT / part).is_file()


def test_fine_tuning_starts_from_the_converted_checkpoint(quickstart):
    for task in ('mask_rcnn', 'upernet'):
        cfg = Config.fromfile(ROOT / quickstart.CONFIGS[task])
        checkpoint = cfg.model.backbone.init_cfg.checkpoint
        assert checkpoint == quickstart.PRETRAINED
    steps = {s.name: s.command for s in quickstart.list_steps(True)}
    assert quickstart.SCRATCH in steps['train upernet_scratch']
    assert quickstart.SCRATCH not in steps['train upernet']


def test_it_ends_with_pictures_of_its_own_networks(quickstart):
    *others, overview, heat, features, cam = quickstart.list_steps(False)
    assert others[-1].name == 'test upernet with TTA'
    for step, task in (
        (overview, 'mask_rcnn'),
        (heat, 'upernet'),
        (features, 'upernet'),
        (cam, 'classification'),
    ):
        config, checkpoint, image, out = step.command[1:5]
        assert config == quickstart.CONFIGS[task]
        assert checkpoint == f'{{{task}}}'
        assert image.startswith(quickstart.DATA)
        assert out == f'--out-dir={quickstart.WORK}/heat'


def test_a_failing_step_ends_the_run_with_its_last_words(
    quickstart, tmp_path
) -> None:
    steps = [
        quickstart.Step(name, [f'{name}.py'], 1)
        for name in ('good', 'bad', 'never')
    ]
    with pytest.raises(SystemExit) as ended:
        quickstart.run_all(steps)
    message = str(ended.value)
    assert 'why' in message
    assert '"bad" failed with exit code 1' in message
    assert f'{quickstart.LOGS}/02_bad.log' in message
    logs = sorted((tmp_path / quickstart.LOGS).iterdir())
    assert [log.name for log in logs] == ['01_good.log', '02_bad.log']
    assert logs[0].read_text() == 'fine\n'


def test_lanes_run_side_by_side_with_a_thread_each(quickstart, capsys):
    lanes = dict(first='', a='a', b='b', a2='a', last='')
    steps = [
        quickstart.Step(name, ['meet.py', name], 1, lane)
        for name, lane in lanes.items()
    ]
    seconds = quickstart.run_all(steps)
    assert list(seconds) == ['first', 'a', 'b', 'a2', 'last']
    times, threads = {}, {}
    for number, name in enumerate(lanes, 1):
        log = quickstart.ROOT / f'{quickstart.LOGS}/{number:02d}_{name}.log'
        threads[name], *times[name] = map(float, log.read_text().split())
    assert set(threads.values()) == {1}
    assert times['first'][1] < min(times['a'][0], times['b'][0])
    assert max(times['a'][0], times['b'][0]) < times['a'][1]  # b was met
    assert times['a'][1] < times['a2'][0] < times['a2'][1]
    assert max(times['a2'][1], times['b'][1]) < times['last'][0]
    output = capsys.readouterr().out
    assert '[4/5] python meet.py a2' in output
    assert '[4/5] took' in output


def test_a_failing_lane_ends_the_other(quickstart):
    steps = [
        quickstart.Step('wait', ['train.py'], 1, 'a'),
        quickstart.Step('bad', ['bad.py'], 1, 'b'),
        quickstart.Step('never', ['good.py'], 1, 'a'),
    ]
    with pytest.raises(SystemExit, match='"bad" failed'):
        quickstart.run_all(steps)
    log = quickstart.ROOT / quickstart.LOGS / '01_wait.log'
    assert '00:04' not in log.read_text()
    assert not (log.parent / '03_never.log').exists()


@pytest.mark.parametrize('is_terminal', [False, True])
def test_console_shows_steps_and_nothing_that_they_print(
    quickstart, monkeypatch, capsys, is_terminal
) -> None:
    monkeypatch.setenv('TTY_COMPATIBLE', str(int(is_terminal)))
    step = quickstart.Step('talk', ['talk.py', '--loud'], 1)
    quickstart.run_all([step, step._replace(name='again')])
    output = capsys.readouterr().out
    assert '[2/2] python talk.py --loud' in output
    assert ('100%' in output) == is_terminal
    assert '\n998' not in output
    assert output.count('\n') <= 6


def test_progress_is_read_from_the_log(quickstart):
    log = f'{quickstart.LOGS}/log'
    shares = list(quickstart.run_step('', ['train.py'], log))
    assert shares == sorted(shares)
    assert 0 < shares[-1] < 0.5  # 4 seconds were left after 2


def test_scene_is_enlarged_with_all_that_is_drawn_on_it(quickstart, tmp_path):
    data, work = tmp_path / quickstart.DATA, tmp_path / quickstart.WORK
    masks = np.zeros((2, 32, 32), np.uint8, order='C')
    masks[0, 4:12, 2:20] = masks[1, 20:30, 5:9] = 1
    items = [
        dict(
            image_id=7,
            category_id=category,
            bbox=coco_mask.toBbox(rle).tolist(),
            segmentation=dict(rle, counts=rle['counts'].decode()),
        )
        for category, rle in zip(
            (3, 10), map(coco_mask.encode, map(np.asfortranarray, masks))
        )
    ]
    found = [dict(items[1], score=0.75), dict(items[0], image_id=8, score=1)]
    _write_json(
        data / 'annotations/instances_val.json', dict(annotations=items)
    )
    _write_json(work / 'mask_rcnn/predictions.segm.json', found)
    for path in (
        data / 'val/000007.jpg',
        data / 'label_maps/val/000007.png',
        work / 'upernet/predictions/000007.png',
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), 3 * masks[0])

    image, instances, label_maps = quickstart.read_scene(7)
    assert image.shape == (64, 64, 3)
    truth, found = instances.gt_instances, instances.pred_instances
    assert truth.labels.tolist() == [2, 9]
    assert 'scores' not in truth
    assert truth.bboxes.tolist() == [[4, 8, 40, 24], [10, 40, 18, 60]]
    assert truth.masks.sum((1, 2)).tolist() == [4 * 144, 4 * 40]
    assert found.scores.tolist() == [0.75]
    labels = label_maps.gt_sem_seg.data[0].numpy()
    assert (labels[8:24, 4:40] == 3).all()
    assert (labels != 255).sum() == 4 * 144  # mmseg paints no background


def test_scene_without_predictions(quickstart):
    picture = np.zeros((6, 8, 3), np.uint8)
    instances = quickstart.pack_instances([], 0, picture)
    assert instances.bboxes.shape == (0, 4)
    assert instances[instances.scores > 0.5].masks.shape == (0, 6, 8)


def _write_json(path: Path, content: dict | list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_summary_holds_the_metrics_of_every_test(quickstart, tmp_path):
    work = tmp_path / quickstart.WORK
    metrics = {
        'classification/metrics.json': {'accuracy/top1': 98.61},
        'mask_rcnn/metrics.json': {
            'coco/bbox_mAP': 0.8125,
            'coco/segm_mAP': 0.8254,
        },
        'upernet/metrics.json': {'mIoU': 81.5},
        'upernet/metrics_tta.json': {'mIoU': 82.25},
    }
    for name, values in metrics.items():
        _write_json(work / name, dict(metrics=values))
    _write_json(tmp_path / quickstart.DATA / 'meta.json', dict(sha256='abc'))

    runs = ('classification', 'mask_rcnn', 'upernet')
    seconds = {f'train {name}': 60.0 for name in runs}
    shown = quickstart.write_summary(seconds, 77.2, from_scratch=False)

    table = (work / 'summary.md').read_text()
    assert shown in table
    values = ('98.61', '0.812', '0.825', '81.5', '82.25', 'abc', '77 s')
    for value in values:
        assert value in table
    record = json.loads((work / 'summary.json').read_text())
    assert record['data_sha256'] == 'abc'
    assert record['total_seconds'] == 77.2
    assert len(record['results']) == 5


@pytest.mark.slow
def test_whole_quickstart_in_small(
    quickstart, tmp_path, monkeypatch, capfd
) -> None:
    """All of its commands, on little data and for few iterations."""
    for name in ('tools', 'configs', 'mmvheat', 'interpolate4downstream.py'):
        (tmp_path / name).symlink_to(ROOT / name)
    short = [
        '--cfg-options',
        'default_hooks.logger.interval=1',
        'param_scheduler=None',
    ]
    epoch = [
        'train_cfg.max_epochs=1',
        'train_dataloader.num_batch_per_epoch=4',
    ]
    fewer = {
        'data': ['--num-train=64', '--num-val=21', '--variants=1'],
        'train classification': [*short, *epoch],
        'train mask_rcnn': [*short, *epoch],
        'train upernet': [*short, 'train_cfg.max_iters=4'],
        'test mask_rcnn': ['model.test_cfg.rcnn.score_thr=0.0'],
    }
    steps = []
    for step in quickstart.list_steps(from_scratch=False):
        command = [*step.command, *fewer.get(step.name, [])]
        steps.append(step._replace(command=command))
    monkeypatch.setattr(quickstart, 'list_steps', lambda _: steps)
    monkeypatch.setattr(sys, 'argv', ['quickstart.py'])

    quickstart.main()

    output, errors = capfd.readouterr()
    assert output.count('\n') + errors.count('\n') <= 80, output + errors
    assert '| UperNet, 192x192' in output
    logs = sorted((tmp_path / quickstart.LOGS).iterdir())
    assert len(logs) == len(steps)
    assert all(log.stat().st_size for log in logs)
    pictures = (tmp_path / quickstart.WORK).glob('*.[jp][pn]g')
    for path in pictures:
        assert cv2.imread(str(path)).std() > 10
        assert str(path.relative_to(tmp_path)) in output
    assert f'{quickstart.WORK}/heat/overview.png' in output
    drawn = (tmp_path / quickstart.WORK / 'heat').glob('*.png')
    assert {path.name for path in drawn} == {
        *('overview.png', '000015_heat.png', 'spectrum.png', 'sizes.png'),
        *('000015_features.png', '0017_0_cam.png'),
    }
