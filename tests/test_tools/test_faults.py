"""What interrupts a run costs nothing but time."""

from __future__ import annotations

import os
import shutil

import pytest

SIGTERM_IN_ITERATION = """
import os, signal
from mmengine.hooks import IterTimerHook

def send(self, runner, *args, **kwargs):
    if runner.iter + 1 == {iteration}:
        os.kill(os.getpid(), signal.SIGTERM)

IterTimerHook.before_train_iter = send
"""


NOISE = """
import numpy as np
from mmcv.transforms import LoadImageFromFile

load = LoadImageFromFile.transform

def add_noise(self, results):
    results = load(self, results)
    noise = np.random.randint(0, 9, results['img'].shape, np.uint8)
    results['img'] = np.minimum(results['img'], 240) + noise
    return results

LoadImageFromFile.transform = add_noise
"""


def _weights_differ(first: dict, second: dict) -> float:
    assert first.keys() == second.keys()
    return max(float((first[k] - second[k]).abs().max()) for k in first)


@pytest.fixture(scope='module')
def noisy(run_tool, configs):
    """Train with random transforms and stochastic depth, once a config."""
    jobs = {}

    def train(name, *options, work_dir=None, patch=''):
        resume = ['--resume'] if work_dir else []
        return run_tool(
            'train.py',
            *(configs / f'{name}.py', *resume, '--cfg-options', *options),
            'model.backbone.drop_path_rate=0.5',
            work_dir=work_dir,
            patch=NOISE + patch,
        )

    def whole(name):
        if name not in jobs:
            jobs[name] = train(name)
            assert jobs[name].exit_code == 0, jobs[name].output
        return jobs[name]

    train.whole = whole
    return train


@pytest.mark.parametrize(
    ('name', 'iteration', 'last', 'workers'),
    [
        ('classifier', 3, 'epoch_2.pth', 0),  # in the middle of an epoch
        ('classifier', 4, 'epoch_2.pth', 0),  # in its last iteration
        ('classifier', 6, 'epoch_2.pth', 2),
        ('upernet', 4, 'iter_6.pth', 0),
        ('upernet', 4, 'iter_6.pth', 2),
    ],
)
def test_run_resumed_after_sigterm_equals_an_uninterrupted_one(
    noisy, trained, name, iteration, last, workers
) -> None:
    options = [
        f'train_dataloader.num_workers={workers}',
        f'train_dataloader.persistent_workers={workers > 0}',
    ]
    signal = SIGTERM_IN_ITERATION.format(iteration=iteration)
    job = noisy(name, *options, patch=signal)
    assert job.exit_code == 143, job.output
    assert f'Stopped by SIGTERM at iteration {iteration}' in job.output
    assert not (job.work_dir / last).exists()

    job = noisy(name, *options, work_dir=job.work_dir)
    assert job.exit_code == 0, job.output
    expected = noisy.whole(name).weights(last)
    assert _weights_differ(job.weights(last), expected) == 0
    assert _weights_differ(expected, trained(name).weights(last)) > 0


SIGTERM_IN_VALIDATION = """
import os, signal
from mmengine.hooks import IterTimerHook

def send(self, runner, *args, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)

IterTimerHook.before_val_iter = send
"""


@pytest.mark.parametrize(
    ('name', 'metric', 'iteration', 'last'),
    [
        ('classifier', 'accuracy/top1', 4, 'epoch_2.pth'),
        ('upernet', 'mIoU', 6, 'iter_6.pth'),
    ],
)
def test_validation_that_was_interrupted_is_repeated(
    run_tool, trained, configs, name, metric, iteration, last
) -> None:
    config = configs / f'{name}.py'
    job = run_tool('train.py', config, patch=SIGTERM_IN_VALIDATION)
    assert job.exit_code == 143, job.output
    assert f'Stopped by SIGTERM at iteration {iteration}' in job.output

    job = run_tool('train.py', config, '--resume', work_dir=job.work_dir)
    assert job.exit_code == 0, job.output
    assert job.scalars(metric) == trained(name).scalars(metric)
    expected = trained(name).weights(last)
    assert _weights_differ(job.weights(last), expected) == 0


def test_sigterm_to_data_workers_does_not_lose_the_iteration(
    run_tool, configs
) -> None:
    # Slurm signals every process of the job, workers too.
    patch = SIGTERM_IN_ITERATION.format(iteration=3).replace(
        'os.kill(os.getpid(), ', 'os.killpg(0, '
    )
    job = run_tool(
        'train.py',
        configs / 'upernet.py',
        '--cfg-options',
        'train_dataloader.num_workers=2',
        patch='import os; os.setpgid(0, 0)\n' + patch,
    )
    assert job.exit_code == 143, job.output
    assert (job.work_dir / 'interrupted.pth').is_file()


def test_resume_passes_over_a_truncated_checkpoint(
    run_tool, trained, configs, tmp_path
) -> None:
    finished = trained('classifier')
    work_dir = tmp_path / 'work_dir'
    shutil.copytree(finished.work_dir, work_dir)
    with open(work_dir / 'epoch_2.pth', 'r+b') as file:
        file.truncate(5000)
    pointer = work_dir / 'last_checkpoint'
    pointer.write_text(str(work_dir / 'epoch_2.pth'))

    job = run_tool(
        'train.py', configs / 'classifier.py', '--resume', work_dir=work_dir
    )
    assert job.exit_code == 0, job.output
    assert 'epoch_2.pth' in job.output.split('Run summary')[0]
    assert 'epoch_1.pth at iteration' in job.output
    expected = finished.weights('epoch_2.pth')
    assert _weights_differ(job.weights('epoch_2.pth'), expected) == 0


def test_resume_without_a_checkpoint_starts_from_the_beginning(
    run_tool, trained, configs
) -> None:
    job = run_tool('train.py', configs / 'classifier.py', '--resume')
    assert job.exit_code == 0
    assert 'starts from the beginning' in job.output
    assert job.scalars('loss') == trained('classifier').scalars('loss')


def test_full_disk_leaves_the_older_checkpoint(
    run_tool, configs, tmp_path
) -> None:
    work_dir = tmp_path / 'work_dir'
    work_dir.mkdir()
    # Whatever is written through this link meets "no space left on device".
    os.symlink('/dev/full', work_dir / 'epoch_2.pth.partial')
    job = run_tool(
        'train.py',
        configs / 'classifier.py',
        '--cfg-options',
        'default_hooks.checkpoint.max_keep_ckpts=1',
        work_dir=work_dir,
    )
    assert 'epoch_2.pth' in job.error
    assert 'No space left on device' in job.error
    assert sorted(p.name for p in work_dir.glob('epoch_*')) == ['epoch_1.pth']

    job = run_tool(
        'train.py', configs / 'classifier.py', '--resume', work_dir=work_dir
    )
    assert job.exit_code == 0, job.output
    assert (work_dir / 'epoch_2.pth').is_file()


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize(
    ('name', 'bad'),
    [
        ('mask_rcnn', 'train/005.jpg'),
        ('upernet', 'train/005.jpg'),
        ('upernet', 'label_maps/train/005.png'),
    ],
)
def test_unreadable_image_is_named(
    run_tool, configs, shapes, tmp_path, name, bad, workers
) -> None:
    root = tmp_path / 'shapes'
    shutil.copytree(shapes, root)
    content = (root / bad).read_bytes()
    (root / bad).write_bytes(b'' if workers else content[:20])
    job = run_tool(
        'train.py',
        configs / f'{name}.py',
        '--cfg-options',
        f'train_dataloader.num_workers={workers}',
        env=dict(SHAPES=str(root)),
    )
    assert str(root / bad) in job.error
    # Label maps are looked at before the training, images in the midst of it.
    assert ('(train)' in job.output) == bad.endswith('.jpg')


@pytest.mark.parametrize(
    ('interval', 'expected'),
    [(2, 'The loss is not finite'), (50, 'not finite and not saved')],
)
def test_loss_that_is_no_number_stops_the_run(
    run_tool, configs, interval, expected
) -> None:
    job = run_tool(
        'train.py',
        configs / 'classifier.py',
        '--cfg-options',
        'optim_wrapper.optimizer.lr=1e30',
        f'default_hooks.finite_loss.interval={interval}',
    )
    assert expected in job.error
    assert 'at iteration' in job.error
    assert 'lr 1e+30' in job.error
    assert not list(job.work_dir.glob('*.pth'))


def test_hook_is_switched_off_by_its_name(run_tool, configs) -> None:
    job = run_tool(
        'train.py',
        configs / 'classifier.py',
        *('--cfg-options', 'default_hooks.run_summary=None'),
        'default_hooks.learning_curves=None',
    )
    assert job.exit_code == 0, job.output
    assert 'Run summary' not in job.output
    assert not (job.work_dir / 'learning_curves.png').exists()
