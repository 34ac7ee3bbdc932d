"""tools/robustness.py tests any model, goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmvheat.checkpoint import read_file
from mmvheat.datasets.imagenet_variants import folder_classes

CHECKPOINTS = dict(
    classifier='epoch_2.pth', mask_rcnn='epoch_1.pth', upernet='iter_6.pth'
)
FILTER = ['--data', 'frequencies', '--corruptions', 'low_pass']
FILTER += ['--severities', '2', '32']
STOP_AT_THE_THIRD = """
import os
from mmengine.runner import TestLoop

run, calls = TestLoop.run, []

def stop(self):
    calls.append(self)
    if len(calls) == 3:
        os._exit(9)
    return run(self)

TestLoop.run = stop
"""


@pytest.fixture(scope='module')
def arguments(trained, configs):
    """Arguments for the trained model of a config."""

    def give(name: str) -> list:
        checkpoint = trained(name).work_dir / CHECKPOINTS[name]
        return ['robustness.py', configs / f'{name}.py', checkpoint]

    return give


def read(job, data: str = 'frequencies') -> dict:
    path = job.work_dir / f'robustness/{data}/robustness.json'
    return json.loads(path.read_text())


def values_of(result: dict, metric: str) -> dict:
    return {
        f'{t["name"]}_{t["severity"]:g}': t['metrics'][metric]
        for t in result['tests']
    }


def test_a_stopped_run_goes_on_with_the_next_test(
    run_tool, arguments, trained
) -> None:
    stopped = run_tool(
        *arguments('classifier'), *FILTER, patch=STOP_AT_THE_THIRD
    )
    assert stopped.exit_code == 9
    folder = stopped.work_dir / 'robustness/frequencies'
    before = {p: p.stat().st_mtime_ns for p in folder.rglob('*.json')}
    names = sorted(path.stem for path in before)
    assert names == ['clean_0', 'low_pass_2']

    again = run_tool(
        *arguments('classifier'), *FILTER, work_dir=stopped.work_dir
    )

    assert again.exit_code == 0, again.output
    assert '2 results are there' in again.output
    assert '[1/1] low_pass 32' in again.output
    assert {p: p.stat().st_mtime_ns for p in before} == before
    values = values_of(read(again), 'accuracy/top1')
    assert list(values) == ['clean_0', 'low_pass_2', 'low_pass_32']
    # crops have 32x64 pixels: no frequency is above 16 * sqrt(5) cycles
    last = trained('classifier').scalars('accuracy/top1')[-1]
    assert values['clean_0'] == last
    assert (folder / 'robustness.md').read_text() in again.output


@pytest.mark.slow
def test_results_of_another_checkpoint_are_not_mixed(
    run_tool, arguments
) -> None:
    first = run_tool(*arguments('classifier'), *FILTER)
    other = run_tool(
        *arguments('classifier')[:2],
        arguments('upernet')[2],
        *FILTER,
        work_dir=first.work_dir,
    )
    assert 'is the result of another checkpoint' in other.error


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'metric'), [('mask_rcnn', 'coco/bbox_mAP'), ('upernet', 'mIoU')]
)
def test_two_processes_measure_what_one_does(
    run_tool, run_ranks, arguments, trained, name, metric
) -> None:
    one = run_tool(*arguments(name), *FILTER)
    assert one.exit_code == 0, one.output
    first, _ = run_ranks(*arguments(name), *FILTER)

    values = values_of(read(one), metric)
    assert values['clean_0'] == trained(name).scalars(metric)[-1]
    assert values_of(read(first), metric) == pytest.approx(values, abs=1e-6)


@pytest.fixture(scope='module')
def stimuli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of each shape with the texture of an oven."""
    root = tmp_path_factory.mktemp('cue-conflict')
    random = np.random.default_rng(0)
    for name in folder_classes('cue-conflict'):
        (root / name).mkdir()
        image = random.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(root / name / f'{name}1-oven1.png'), image)
    return root


THOUSAND = ['--cfg-options', 'model.head.num_classes=1000']
THOUSAND += ['data_preprocessor.num_classes=1000']


@pytest.fixture(scope='module')
def of_a_thousand(arguments, tmp_path_factory: pytest.TempPathFactory) -> list:
    """Arguments for a classifier with a new head of 1,000 classes."""
    tool, config, path = arguments('classifier')
    weights = read_file(path)['state_dict']
    for name in ('head.fc.weight', 'head.fc.bias'):
        weights[name] = torch.randn(1000, *weights[name].shape[1:])
    path = tmp_path_factory.mktemp('thousand') / 'thousand.pth'
    torch.save(dict(state_dict=weights), path)
    return [tool, config, path, *THOUSAND]


@pytest.mark.slow
def test_shape_bias_is_measured_on_a_folder_of_stimuli(
    run_tool, of_a_thousand, stimuli
) -> None:
    job = run_tool(
        *of_a_thousand,
        *('--data', 'cue-conflict', '--data-root', stimuli),
    )

    assert job.exit_code == 0, job.output
    values = values_of(read(job, 'cue-conflict'), 'shape_bias')
    assert 0 <= values['clean_0'] <= 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--data', 'imagenet-z'], 'expected is one of ade20k-c, coco-c'),
        (['--data', 'coco-c'], 'tests models of mmdet, but'),
        (['--data', 'imagenet-a'], 'data/imagenet-a does not exist'),
        (['--data', 'imagenet-a', '--data-root', '{stimuli}'], '0 of the 200'),
        (['--data', 'cue-conflict', '--data-root', '{stimuli}'], '1000'),
        (
            ['--data', 'imagenet-c', '--data-root', '{stimuli}'],
            'gaussian_noise/1 does not exist',
        ),
    ],
)
def test_bad_input_is_told_in_a_sentence(
    run_tool, arguments, stimuli, options, words
) -> None:
    options = [option.format(stimuli=stimuli) for option in options]
    job = run_tool(*arguments('classifier'), *options)

    assert words in job.error
    assert not [*job.work_dir.rglob('robustness.json')]


@pytest.mark.slow
def test_damaged_images_are_told_in_a_sentence(
    run_tool, of_a_thousand, stimuli, tmp_path
) -> None:
    for path in stimuli.rglob('*.png'):
        copy = tmp_path / path.relative_to(stimuli)
        copy.parent.mkdir()
        copy.write_bytes(path.read_bytes()[:40])
    job = run_tool(
        *of_a_thousand, '--data', 'cue-conflict', '--data-root', tmp_path
    )

    assert 'cannot be read' in job.error
    assert not [*job.work_dir.rglob('robustness.json')]


@pytest.mark.slow
def test_results_are_put_beside_each_other(
    run_tool, arguments, tmp_path
) -> None:
    paths = []
    for title in ('first', 'second'):
        job = run_tool(*arguments('classifier'), '--title', title, *FILTER)
        folder = job.work_dir / 'robustness/frequencies'
        paths.append(folder / 'robustness.json')
    job = run_tool('robustness.py', '--out-dir', tmp_path, '--compare', *paths)

    assert job.exit_code == 0, job.output
    table = (tmp_path / 'comparison.md').read_text()
    assert '| first ' in table and '| second ' in table
    assert (tmp_path / 'curves.png').exists()
