"""Learning curves from logs as mmengine writes them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmvheat.visualization import plot_learning_curves, read_training_log
from mmvheat.visualization.hooks import LearningCurvesHook


def train_line(step: int, loss: float, **more) -> dict:
    return dict(lr=1e-3, data_time=0.1, loss=loss, time=0.2, step=step, **more)


def val_line(step: int, **metrics) -> dict:
    return dict(metrics, data_time=0.1, time=0.2, step=step)


def write_log(work_dir: Path, start: str, *lines: dict) -> Path:
    path = work_dir / start / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return path


def test_epochs_and_iterations_are_told_apart(tmp_path):
    write_log(
        tmp_path / 'det',
        '1',
        train_line(50, 2.0, epoch=1, iter=50),
        val_line(1, **{'coco/bbox_mAP': 0.1, 'coco/bbox_mAP_50': 0.3}),
        train_line(100, 1.0, epoch=2, iter=100),
        val_line(2, **{'coco/bbox_mAP': 0.2, 'coco/bbox_mAP_50': 0.4}),
    )
    write_log(
        tmp_path / 'seg',
        '1',
        train_line(50, 2.0, iter=50),
        val_line(50, mIoU=40.0),
    )
    det = read_training_log(tmp_path / 'det')
    assert det.unit == 'epoch'
    assert det.losses == [(50, 2.0), (100, 1.0)]
    assert det.metrics['coco/bbox_mAP'] == [(1, 0.1), (2, 0.2)]
    assert set(det.metrics) == {'coco/bbox_mAP', 'coco/bbox_mAP_50'}
    seg = read_training_log(tmp_path / 'seg')
    assert (seg.unit, seg.metrics) == ('iteration', {'mIoU': [(50, 40.0)]})


def test_mmengine_writes_what_is_read(tmp_path):
    from mmengine.visualization import LocalVisBackend

    backend = LocalVisBackend(str(tmp_path / 'run' / '1' / 'vis_data'))
    backend.add_scalars(dict(loss=3.0, lr=0.1, epoch=1, iter=7), step=7)
    backend.add_scalars({'accuracy/top1': 55.0, 'time': 1.0}, step=1)
    log = read_training_log(tmp_path / 'run')
    assert log.losses == [(7, 3.0)]
    assert log.metrics == {'accuracy/top1': [(1, 55.0)]}


def test_a_resumed_run_continues_its_curve(tmp_path):
    write_log(
        tmp_path,
        '20260101_000000',
        train_line(10, 5.0),
        val_line(10, mIoU=1.0),
        train_line(20, 4.0),
        val_line(20, mIoU=2.0),
        train_line(30, 3.9),
    )
    write_log(
        tmp_path,
        '20260102_000000',
        train_line(20, 4.5),
        val_line(20, mIoU=2.5),
    )
    log = read_training_log(tmp_path)
    assert log.losses == [(10, 5.0), (20, 4.5)]
    assert log.metrics == {'mIoU': [(10, 1.0), (20, 2.5)]}


def test_a_run_started_over_replaces_the_older_one(tmp_path):
    write_log(
        tmp_path,
        '1',
        train_line(9, 5.0),
        train_line(18, 5.0),
        val_line(18, m=1),
    )
    write_log(tmp_path, '2', train_line(9, 1.0))
    log = read_training_log(tmp_path)
    assert log.losses == [(9, 1.0)]
    assert log.metrics == {}


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path):
    path = write_log(tmp_path, '1', train_line(1, 2.0), train_line(2, 1.0))
    path.write_text(path.read_text()[:-30])
    assert read_training_log(path).losses == [(1, 2.0)]


@pytest.mark.parametrize('lines', [[], [val_line(1, mIoU=3.0)]])
def test_no_training_log_is_one_clear_error(tmp_path, lines):
    write_log(tmp_path, '1', *lines)
    with pytest.raises(FileNotFoundError, match='holds no training log'):
        plot_learning_curves({'seg': tmp_path}, tmp_path / 'curves.png')
    assert not (tmp_path / 'curves.png').exists()


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='No run'):
        plot_learning_curves({}, tmp_path / 'curves.png')


def test_a_run_of_a_config_without_a_file_is_drawn(tmp_path):
    write_log(tmp_path, '1', train_line(1, 2.0), train_line(2, 1.0))
    logger = logging.getLogger('curves')
    runner = SimpleNamespace(
        cfg=Config(dict(model=dict())), work_dir=str(tmp_path), logger=logger
    )
    LearningCurvesHook().after_train(runner)
    assert cv2.imread(str(tmp_path / 'learning_curves.png')).std() > 10


def colored_pixels(picture: np.ndarray) -> int:
    return int((np.ptp(picture.astype(int), axis=2) > 40).sum())


def test_every_task_is_a_column_and_every_run_a_colour(tmp_path):
    """Each column has ink of its own; a second run adds another hue."""
    for name, factor in (('a', 1.0), ('b', 2.0)):
        write_log(
            tmp_path / name,
            '1',
            *(train_line(i, factor * 9 / i, epoch=i) for i in range(1, 9)),
            val_line(1, **{'coco/bbox_mAP': 0.1 * factor}),
            val_line(8, **{'coco/bbox_mAP': 0.3 * factor}),
        )
    one, two = tmp_path / 'one.png', tmp_path / 'new' / 'two.png'
    plot_learning_curves({'det': tmp_path / 'a'}, one)
    both = {'a': tmp_path / 'a', 'b': tmp_path / 'b'}
    plot_learning_curves({'det': tmp_path / 'a', 'both': both}, two)
    one, two = cv2.imread(str(one)), cv2.imread(str(two))
    height, width, _ = two.shape
    assert (height, width) == (one.shape[0], 2 * one.shape[1])
    left, right = two[:, : width // 2], two[:, width // 2 :]
    for half in (left[: height // 2], left[height // 2 :], right):
        assert colored_pixels(half) > 200
    blue, _, red = np.moveaxis(two.astype(int), 2, 0)
    orange = red - blue > 80
    assert orange[:, width // 2 :].sum() > 200
    assert not orange[:, : width // 2].any()
