"""An interrupted run continues from its newest whole checkpoint."""

import contextlib
import os
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmvheat.checkpoint import CheckpointError, find_complete_checkpoint

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / 'tools/train.py'


@pytest.fixture
def work_dir(tmp_path):
    """Three checkpoints, of which mmengine names the last."""
    for epoch in (2, 9, 10):
        torch.save({'state_dict': {}}, tmp_path / f'epoch_{epoch}.pth')
    name_last(tmp_path, tmp_path / 'epoch_10.pth')
    return tmp_path


def name_last(work_dir, path):
    (work_dir / 'last_checkpoint').write_text(str(path))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def find(work_dir):
    found = find_complete_checkpoint(work_dir)
    return found and Path(found).name


def test_named_checkpoint_comes_first(work_dir):
    name_last(work_dir, work_dir / 'epoch_9.pth')
    assert find(work_dir) == 'epoch_9.pth'


def test_truncated_checkpoint_is_passed_over(work_dir):
    truncate(work_dir / 'epoch_10.pth')
    assert find(work_dir) == 'epoch_9.pth'
    (work_dir / 'epoch_9.pth').write_bytes(b'')
    assert find(work_dir) == 'epoch_2.pth'


def test_all_damaged_is_an_error(work_dir):
    for path in work_dir.glob('*.pth'):
        truncate(path)
    with pytest.raises(CheckpointError, match='no complete checkpoint') as e:
        find(work_dir)
    assert '\n' not in str(e.value)


def test_fresh_folder_has_nothing_to_resume(tmp_path):
    assert find(tmp_path) is None
    assert find(tmp_path / 'none') is None


def test_removed_or_missing_pointer(work_dir):
    (work_dir / 'last_checkpoint').unlink()
    assert find(work_dir) == 'epoch_10.pth'
    name_last(work_dir, work_dir / 'epoch_11.pth')
    assert find(work_dir) == 'epoch_10.pth'


def test_moved_folder(work_dir, tmp_path):
    name_last(work_dir, '/gone/epoch_9.pth')
    assert find(work_dir) == 'epoch_9.pth'


def test_iterations_and_an_interrupted_state(tmp_path):
    for i, name in enumerate(('iter_900', 'iter_1000', 'interrupted')):
        torch.save({'state_dict': {}}, tmp_path / f'{name}.pth')
        os.utime(tmp_path / f'{name}.pth', (i, i))
    name_last(tmp_path, tmp_path / 'iter_1000.pth')
    assert find(tmp_path) == 'interrupted.pth'
    os.utime(tmp_path / 'interrupted.pth', (0, 0))
    assert find(tmp_path) == 'iter_1000.pth'
    truncate(tmp_path / 'iter_1000.pth')
    assert find(tmp_path) == 'iter_900.pth'


CONFIG = """
_base_ = {base!r}
train_dataloader = dict(
    batch_size=8, num_workers=1, persistent_workers=True,
    dataset=dict(data_root={data!r}, data_prefix='', pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='RandomCrop', crop_size=32, padding=4),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackInputs')]))
val_dataloader = val_evaluator = val_cfg = None
model = dict(backbone=dict(drop_path_rate=0.5))
param_scheduler = dict(type='MultiStepLR', milestones=[2])
train_cfg = dict(max_epochs=4, val_interval=9)
"""


@pytest.fixture
def train(start, tmp_path):
    """Start tools/train.py; whatever still runs is killed in the end."""
    jobs = []

    def train(config, name, *args):
        options = ['--work-dir', tmp_path / name, *args]
        # A group of its own, so that workers can be killed with it.
        patch = 'import os; os.setsid()'
        jobs.append(start(TRAIN, config, *options, patch=patch))
        return jobs[-1]

    yield train
    for job in jobs:
        kill(job)


def kill(job):
    if job.process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.process.pid, signal.SIGKILL)
        job.wait()


def finish(job):
    assert job.wait(80).exit_code == 0, job.output
    return job.output


@pytest.mark.slow
def test_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path, train
):
    pytest.importorskip('mmpretrain')
    rng = np.random.default_rng(0)
    for name in ('a', 'b', 'c'):
        (tmp_path / 'data' / name).mkdir(parents=True)
        for i in range(40):
            image = rng.integers(0, 255, (32, 32, 3), np.uint8)
            cv2.imwrite(str(tmp_path / 'data' / name / f'{i}.png'), image)
    config = tmp_path / 'config.py'
    base = ROOT / 'tests/test_tools/configs/classifier.py'
    data = tmp_path / 'data'
    config.write_text(CONFIG.format(base=str(base), data=str(data)))

    finish(train(config, 'whole'))
    killed = train(config, 'killed')
    deadline = time.monotonic() + 80
    # Epoch 2 is saved, 3 has begun.
    while not killed.log.exists() or 'Epoch(train) [3]' not in killed.output:
        assert killed.process.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    kill(killed)
    assert not (tmp_path / 'killed' / 'epoch_3.pth').exists()

    output = finish(train(config, 'killed', '--resume'))
    assert 'resumed epoch: 2' in output
    final = [
        torch.load(tmp_path / name / 'epoch_4.pth', weights_only=False)
        for name in ('whole', 'killed')
    ]
    for key in ('state_dict', 'optimizer'):
        states = [content[key] for content in final]
        torch.testing.assert_close(*states, rtol=0, atol=0)
