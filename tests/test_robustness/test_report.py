"""Tables hold the numbers; only like is put beside like."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import cv2
import pytest

from mmvheat.errors import UserError
from mmvheat.robustness.command import compare
from mmvheat.robustness.report import (
    check_comparable,
    read_result,
    summarize,
    write_report,
)
from mmvheat.robustness.summary import ALEXNET
from mmvheat.robustness.transforms import BENCHMARK


def make_result(title: str = 'A', metric: str = 'mIoU', drop=10.0) -> dict:
    """Clean 80; every severity costs ``drop``; one corruption more."""
    tests = [dict(name='clean', severity=0, metrics={metric: 80.0})]
    tests += [
        dict(name=n, severity=s, metrics={metric: 80.0 - drop * s})
        for n in ('fog', 'snow', 'spatter')
        for s in (1, 3)
    ]
    return dict(title=title, data='corruptions', classes=11, tests=tests)


def test_summary_leaves_the_extra_corruptions_out() -> None:
    result = make_result()
    for test in result['tests']:
        if test['name'] == 'spatter':
            test['metrics']['mIoU'] = 0.0

    # fog and snow: 70 and 50, mean 60; of 80: 75 %
    assert summarize(result, 'mIoU') == {
        'clean': 80,
        'mPC': pytest.approx(60),
        'rPC (%)': pytest.approx(75),
    }


def test_a_detector_that_finds_nothing_has_no_precision() -> None:
    result = make_result(metric='coco/bbox_mAP')
    del result['tests'][1]['metrics']['coco/bbox_mAP']

    # As mmdet does, where there is no box in any image. Fog at 1 was 70.
    mean = summarize(result, 'coco/bbox_mAP')['mPC']
    assert mean == pytest.approx(60 - 70 / 4)


def test_mce_needs_all_of_imagenet_c() -> None:
    metric = 'accuracy/top1'
    tests = [
        dict(name=name, severity=s, metrics={metric: 100 - ALEXNET[name] / 2})
        for name in BENCHMARK
        for s in (1, 2, 3, 4, 5)
    ]
    tests.insert(0, dict(name='clean', severity=0, metrics={metric: 70.0}))
    result = dict(title='A', data='c', classes=1000, tests=tests)

    assert summarize(result, metric)['mCE (%)'] == pytest.approx(50)
    result['classes'] = 10
    assert 'mCE (%)' not in summarize(result, metric)
    result.update(classes=1000, tests=tests[:-1])
    assert 'mCE (%)' not in summarize(result, metric)


def test_one_model_is_told_by_severity(tmp_path: Path) -> None:
    text = write_report([make_result()], tmp_path, 'robustness')

    rows = [line.split('|')[1:-1] for line in text.splitlines()]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert ['A', 'mIoU (%)', '80.0', '60.0', '75.0'] in cells
    assert ['fog', '70.0', '50.0', '60.0'] in cells
    assert (tmp_path / 'robustness.md').read_text() == f'{text}\n'
    assert read_result(tmp_path / 'robustness.json') == make_result()
    for name in ('heat_map.png', 'curves.png'):
        assert cv2.imread(str(tmp_path / name)).std() > 10


def test_several_models_stand_beside_each_other(tmp_path: Path) -> None:
    results = [make_result('A'), make_result('B', drop=20.0)]
    text = write_report(results, tmp_path, 'comparison')

    assert '| fog      | 60.0 | 40.0 |' in text
    saved = json.loads((tmp_path / 'comparison.json').read_text())
    assert saved['results'] == results


def test_a_single_test_has_no_picture(tmp_path: Path) -> None:
    result = make_result()
    del result['tests'][1:]
    text = write_report([result], tmp_path, 'robustness')

    assert '80.0' in text
    assert not [*tmp_path.glob('*.png')]


def test_folder_of_a_comparison_that_cannot_be_written(tmp_path: Path) -> None:
    write_report([make_result()], tmp_path, 'robustness')
    result = tmp_path / 'robustness.json'
    with pytest.raises(UserError, match='another one with --out-dir'):
        compare([str(result), str(result)], result)


def test_only_like_is_compared() -> None:
    fewer, other = make_result('B'), make_result('C', metric='shape_bias')
    fewer['tests'].pop()
    elsewhere = copy.deepcopy(make_result('D'))
    elsewhere['data'] = 'imagenet-c'

    for wrong, what in (
        (fewer, 'conditions'),
        (other, 'metrics'),
        (elsewhere, 'data'),
    ):
        with pytest.raises(UserError, match=f'different {what}'):
            check_comparable([make_result(), wrong])


@pytest.mark.parametrize('text', ['', '[]', '{"tests": []}'])
def test_what_is_no_result_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'some.json'
    path.write_text(text)
    with pytest.raises(UserError, match='some.json is no result'):
        read_result(path)
    with pytest.raises(UserError, match='absent.json is no result'):
        read_result(tmp_path / 'absent.json')
