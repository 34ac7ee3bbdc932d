"""The quickstart: its steps, what it shows of them, and its report."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import cv2
import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quickstart(tmp_path, monkeypatch) -> ModuleType:
    """The module, with an almost empty folder for its root."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    module = importlib.import_module('quickstart')
    monkeypatch.setattr(module, 'ROOT', tmp_path)
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
        (heat, 'mask_rcnn'),
        (features, 'mask_rcnn'),
        (cam, 'classification'),
    ):
        config, checkpoint, image, out = step.command[1:5]
        assert config == quickstart.CONFIGS[task]
        assert checkpoint == f'{{{task}}}'
        assert image.startswith(quickstart.DATA)
        assert out == f'--out-dir={quickstart.WORK}/heat'


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
    quickstart, server, tmp_path, monkeypatch, capfd
) -> None:
    """All of its commands, on little data and for few iterations.

    They run in processes of ``server``, which is all that python forks from.
    """
    for name in ('tools', 'configs', 'mmvheat', 'interpolate4downstream.py'):
        (tmp_path / name).symlink_to(ROOT / name)
    short = [
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
        if step.name.startswith('train') and '--cfg-options' not in command:
            command.insert(len(step.command), '--cfg-options')
        steps.append(step._replace(command=command))
    monkeypatch.setattr(quickstart, 'list_steps', lambda _: steps)
    monkeypatch.setattr(sys, 'argv', ['quickstart.py'])

    quickstart.main()

    output, errors = capfd.readouterr()
    assert output.count('\n') + errors.count('\n') <= 80, output + errors
    assert '| UperNet, 192x192' in output
    logs = sorted((tmp_path / quickstart.WORK / 'logs').iterdir())
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
