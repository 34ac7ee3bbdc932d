"""The quickstart's steps and summary, without running them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quickstart(tmp_path, monkeypatch) -> ModuleType:
    """The module, with an empty folder for its root."""
    spec = importlib.util.spec_from_file_location(
        'quickstart', ROOT / 'tools' / 'quickstart.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'ROOT', tmp_path)
    return module


def test_steps_name_files_that_exist(quickstart):
    for _, command in quickstart.list_steps(from_scratch=True):
        assert (ROOT / command[0]).is_file()
        for part in command[1:]:
            assert not part.startswith('configs/') or (ROOT / part).is_file()


def test_fine_tuning_starts_from_the_converted_checkpoint(quickstart):
    from mmengine.config import Config

    for task in ('mask_rcnn', 'upernet'):
        cfg = Config.fromfile(ROOT / quickstart.CONFIGS[task])
        checkpoint = cfg.model.backbone.init_cfg.checkpoint
        assert checkpoint == quickstart.PRETRAINED
    steps = dict(quickstart.list_steps(from_scratch=True))
    assert quickstart.SCRATCH in steps['train upernet_scratch']
    assert quickstart.SCRATCH not in steps['train upernet']


def test_a_failing_step_ends_the_run_and_is_named(quickstart, monkeypatch):
    ran = []

    def run(command, cwd):
        ran.append(command)
        return subprocess.CompletedProcess(command, len(ran) == 2)

    monkeypatch.setattr(subprocess, 'run', run)
    with pytest.raises(SystemExit, match='"train classification" failed'):
        quickstart.run_all(from_scratch=False)
    assert len(ran) == 2


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
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(metrics=values)))
    data = tmp_path / quickstart.DATA
    data.mkdir(parents=True)
    (data / 'meta.json').write_text(json.dumps(dict(sha256='abc')))

    runs = ('classification', 'mask_rcnn', 'upernet')
    seconds = {f'train {name}': 60.0 for name in runs}
    quickstart.write_summary(seconds, from_scratch=False)

    table = (work / 'summary.md').read_text()
    for value in ('98.61', '0.812', '0.825', '81.5', '82.25', 'abc'):
        assert value in table
    record = json.loads((work / 'summary.json').read_text())
    assert record['data_sha256'] == 'abc'
    assert len(record['results']) == 5
