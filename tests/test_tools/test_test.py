"""tools/test.py reports metrics and paints what it saw."""

from __future__ import annotations

import json
import os
import pickle

import cv2
import numpy as np
import pytest
from mmengine.config import Config

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
    folder = trained(name).work_dir / 'painted'
    painted = sorted(folder.rglob('*.[jp][pn]g'))
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


@pytest.fixture(scope='module')
def skilled(run_tool, trained, configs):
    """A checkpoint of each model that finds something."""
    mask_rcnn = run_tool(
        'train.py',
        configs / 'mask_rcnn.py',
        '--cfg-options',
        'train_cfg.max_epochs=30',
        'train_cfg.val_interval=30',
        'default_hooks.checkpoint.interval=30',
        'default_hooks.logger.interval=100',
        'optim_wrapper.optimizer.lr=2e-3',
    )
    assert mask_rcnn.exit_code == 0, mask_rcnn.output
    return dict(
        classifier=trained('classifier').work_dir / 'epoch_2.pth',
        mask_rcnn=mask_rcnn.work_dir / 'epoch_30.pth',
        upernet=trained('upernet').work_dir / 'iter_6.pth',
    )


@pytest.mark.parametrize('tta', [(), ('--tta',)])
@pytest.mark.parametrize('name', METRICS)
def test_two_processes_give_the_metrics_of_one(
    run_tool, run_ranks, skilled, configs, name, tta
) -> None:
    arguments = [
        *('test.py', configs / f'{name}.py', skilled[name], *tta),
        # Five images make an uneven last batch in one and in two processes.
        *('--cfg-options', 'test_dataloader.batch_size=2'),
    ]
    report = 'metrics_tta' if tta else 'metrics'
    one, two = run_tool(*arguments), run_ranks(*arguments)[0]
    metrics = _metrics(one, report)
    assert metrics == _metrics(two, report)
    assert all(metrics[metric] > 0.1 for metric in METRICS[name])


@pytest.mark.parametrize('name', METRICS)
def test_mixed_precision_gives_about_the_same_metrics(
    run_tool, skilled, configs, name
) -> None:
    arguments = ['test.py', configs / f'{name}.py', skilled[name]]
    exact, mixed = run_tool(*arguments), run_tool(*arguments, '--amp')
    for metric in METRICS[name]:
        expected = _metrics(exact)[metric]
        assert _metrics(mixed)[metric] == pytest.approx(expected, rel=0.1)


def test_detector_without_tta_in_its_config_sees_mirror_images(
    run_tool, skilled, configs, shapes, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv('SHAPES', str(shapes))
    cfg = Config.fromfile(configs / 'mask_rcnn.py')
    explicit = cfg.pop('tta_pipeline')
    cfg.pop('tta_model')
    cfg.dump(tmp_path / 'config.py')
    jobs = [
        run_tool('test.py', config, skilled['mask_rcnn'], '--tta')
        for config in (configs / 'mask_rcnn.py', tmp_path / 'config.py')
    ]
    expected, metrics = (_metrics(job, 'metrics_tta') for job in jobs)
    # The config's own pipeline is a flip, too.
    assert str(explicit).count('RandomFlip') == 2
    for metric in METRICS['mask_rcnn']:
        assert metrics[metric] == pytest.approx(expected[metric], abs=0.02)
    plain = run_tool('test.py', tmp_path / 'config.py', skilled['mask_rcnn'])
    assert _metrics(plain) != metrics


def test_weights_must_be_those_of_the_whole_model(
    run_tool, trained, configs
) -> None:
    classifier = trained('classifier').work_dir / 'epoch_2.pth'
    for tta in ((), ('--tta',)):
        job = run_tool('test.py', configs / 'upernet.py', classifier, *tta)
        assert 'has no weights for' in job.error
        assert 'metrics.json' not in os.listdir(job.work_dir)


def test_pre_trained_backbone_is_no_part_of_a_test(
    run_tool, trained, configs
) -> None:
    job = run_tool(
        'test.py',
        configs / 'classifier.py',
        trained('classifier').work_dir / 'epoch_2.pth',
        '--cfg-options',
        'model.backbone.init_cfg.type=Pretrained',
        'model.backbone.init_cfg.checkpoint=of_another_machine.pth',
    )
    assert job.exit_code == 0, job.output


@pytest.mark.parametrize(
    ('name', 'option', 'place'),
    [
        ('mask_rcnn', '--show-dir', ''),
        ('mask_rcnn', '--out', '/all.pkl'),
        ('upernet', '--out', ''),
    ],
)
def test_place_that_cannot_be_written_is_named_before_the_test(
    run_tool, trained, configs, tmp_path, name, option, place
) -> None:
    (tmp_path / 'file').touch()
    job = run_tool(
        'test.py',
        configs / f'{name}.py',
        trained(name).work_dir / CHECKPOINTS[name],
        option,
        f'{tmp_path}/file{place}',
    )
    assert f'choose another one with {option}' in job.error
    assert 'Iter(test)' not in job.output
