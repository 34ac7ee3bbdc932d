"""tools/test.py reports metrics and paints what it saw."""

from __future__ import annotations

import json
import pickle

import cv2
import numpy as np
import pytest

CHECKPOINTS = dict(
    classifier='epoch_2.pth', mask_rcnn='epoch_1.pth', upernet='iter_6.pth'
)
METRICS = dict(
    classifier=['accuracy/top1'],
    mask_rcnn=['coco/bbox_mAP', 'coco/segm_mAP'],
    upernet=['mIoU', 'aAcc'],
)


def _metrics(job, name: str = 'metrics') -> dict:
    return json.loads((job.work_dir / f'{name}.json').read_text())['metrics']


@pytest.fixture(scope='module')
def tested(run_tool, trained, configs):
    """Test the trained model of a config, painting and dumping."""
    jobs = {}

    def test(name: str):
        if name not in jobs:
            out = 'label_maps' if name == 'upernet' else 'predictions.pkl'
            job = trained(name)
            jobs[name] = run_tool(
                'test.py',
                configs / f'{name}.py',
                job.work_dir / CHECKPOINTS[name],
                '--show-dir',
                job.work_dir / 'painted',
                '--out',
                job.work_dir / out,
                '--cfg-options',
                'test_dataloader.batch_size=2',  # the last batch is uneven
            )
            assert jobs[name].exit_code == 0, jobs[name].output
        return jobs[name]

    return test


@pytest.mark.parametrize('name', METRICS)
def test_metrics_equal_those_of_the_last_validation(
    trained, tested, name
) -> None:
    metrics = _metrics(tested(name))
    table = (tested(name).work_dir / 'metrics.md').read_text()
    for metric in METRICS[name]:
        assert metrics[metric] == trained(name).scalars(metric)[-1]
        assert f'| {metric} ' in table
    assert table in tested(name).output


@pytest.mark.parametrize('name', METRICS)
def test_painted_image_shows_truth_beside_prediction(
    tested, trained, shapes, name
) -> None:
    tested(name)
    painted = sorted((trained(name).work_dir / 'painted').glob('*.png'))
    assert len(painted) == 5
    picture = cv2.imread(str(painted[0]))
    if name == 'classifier':
        return
    photo = cv2.imread(str(shapes / 'val' / '000.jpg'))
    height, width = photo.shape[:2]
    assert picture.shape == (height, 2 * width, 3)
    truth, prediction = picture[:, :width], picture[:, width:]
    assert not np.array_equal(truth, photo)
    assert not np.array_equal(truth, prediction)


def test_out_holds_every_prediction(tested, trained) -> None:
    for name in ('classifier', 'mask_rcnn'):
        tested(name)
        path = trained(name).work_dir / 'predictions.pkl'
        with open(path, 'rb') as file:
            assert len(pickle.load(file)) == 5
    tested('upernet')
    maps = sorted((trained('upernet').work_dir / 'label_maps').glob('*.png'))
    assert len(maps) == 5
    assert cv2.imread(str(maps[0]), -1).max() < 4


@pytest.mark.parametrize('name', ['mask_rcnn', 'upernet'])
def test_tta_is_tested_and_reported_apart(
    run_tool, trained, configs, name
) -> None:
    job = run_tool(
        'test.py',
        configs / f'{name}.py',
        trained(name).work_dir / CHECKPOINTS[name],
        '--tta',
    )
    assert job.exit_code == 0, job.output
    for metric in METRICS[name]:
        assert metric in _metrics(job, 'metrics_tta')


@pytest.mark.parametrize('tta', [(), ('--tta',)])
@pytest.mark.parametrize('name', ['mask_rcnn', 'upernet'])
def test_two_processes_give_the_metrics_of_one(
    run_tool, run_ranks, trained, configs, name, tta
) -> None:
    arguments = [
        'test.py',
        configs / f'{name}.py',
        trained(name).work_dir / CHECKPOINTS[name],
        *tta,
    ]
    report = 'metrics_tta' if tta else 'metrics'
    one, two = run_tool(*arguments), run_ranks(*arguments)[0]
    assert _metrics(one, report) == _metrics(two, report)
