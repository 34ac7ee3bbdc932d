"""Several processes compute what one does, and fail together."""

from __future__ import annotations

import os
import re

import pytest

RECORD_LOSSES = """
from mmengine.hooks import IterTimerHook

def record(self, runner, batch_idx, data_batch=None, outputs=None):
    with open('losses.txt', 'a') as file:
        file.write(f'{float(outputs["loss"].detach())}\\n')

IterTimerHook.after_train_iter = record
"""


# AdamW divides by the size of a gradient: it must not make rounding errors of
# gradients that are all but zero as large as the rest.
EPSILON = 'optim_wrapper.optimizer.eps=1e-4'


def _losses(job) -> list[float]:
    lines = (job.folder / 'losses.txt').read_text().splitlines()
    return [float(line) for line in lines]


@pytest.mark.parametrize(
    ('name', 'options', 'last'),
    [
        (
            'classifier',
            [
                'train_cfg.max_epochs=10',
                'train_cfg.val_interval=10',
                'default_hooks.checkpoint.interval=10',
            ],
            'epoch_10.pth',
        ),
        (
            'upernet',
            [
                'train_cfg.max_iters=20',
                'default_hooks.checkpoint.interval=20',
                'model.decode_head.norm_cfg=None',
                'model.auxiliary_head.norm_cfg=None',
            ],
            'iter_20.pth',
        ),
    ],
)
def test_two_processes_train_as_one_with_twice_the_batch(
    run_tool, run_ranks, configs, name, options, last
) -> None:
    arguments = ['train.py', configs / f'{name}.py', '--cfg-options', *options]
    arguments.append(EPSILON)
    size = 'train_dataloader.batch_size'
    one = run_tool(*arguments, f'{size}=4', patch=RECORD_LOSSES)
    # Behind --cfg-options a list may follow, so the batch size goes last.
    ranks = run_ranks(*arguments, f'{size}=2', patch=RECORD_LOSSES)
    first, second = map(_losses, ranks)
    assert len(first) == 20
    means = [(a + b) / 2 for a, b in zip(first, second)]
    assert means == pytest.approx(_losses(one), abs=1e-4)
    expected = one.weights(last)
    for key, value in ranks[0].weights(last).items():
        assert (value - expected[key]).abs().max() < 1e-4


def test_sync_bn_is_bn_on_cpu_and_says_so_once(run_ranks, configs) -> None:
    first, second = run_ranks('train.py', configs / 'upernet.py')
    # The heads of the base config ask for SyncBN.
    assert first.output.count('SyncBN needs CUDA') == 1
    assert 'SyncBN needs CUDA' not in second.output


def test_static_graph_gives_the_same_losses(run_ranks, configs) -> None:
    wrapper = [
        'model_wrapper_cfg.type=MMDistributedDataParallel',
        'model_wrapper_cfg.static_graph=True',
    ]
    runs = [
        run_ranks(
            'train.py',
            configs / 'classifier.py',
            '--cfg-options',
            f'model.backbone.with_cp={static}',
            *(wrapper if static else ()),
        )
        for static in (False, True)
    ]
    default, static = (run[0].scalars('loss') for run in runs)
    assert static == pytest.approx(default, abs=1e-6)


@pytest.mark.parametrize('name', ['classifier', 'classifier_fsdp'])
def test_switches_work_together(run_ranks, configs, name) -> None:
    first, _ = run_ranks(
        'train.py',
        configs / f'{name}.py',
        '--amp',
        '--auto-scale-lr',
        '--cfg-options',
        'model.backbone.with_cp=True',
        'optim_wrapper.accumulative_counts=2',
    )
    assert '8 = 2 x 2 x 2 accumulated' in first.output
    assert '0.002 = 0.001 (AdamW) x 4 / 2' in first.output
    assert first.scalars('loss')[-1] < first.scalars('loss')[0]


SPOIL_RANK_1 = """
import os
from mmpretrain.models import LinearClsHead

loss = LinearClsHead.loss

def spoilt(*args, **kwargs):
    return {key: value * float('nan')
            for key, value in loss(*args, **kwargs).items()}

if os.environ['RANK'] == '1':
    LinearClsHead.loss = spoilt
"""


def test_loss_that_is_no_number_on_one_rank_spoils_no_checkpoint(
    run_ranks, configs
) -> None:
    first, second = run_ranks(
        'train.py',
        configs / 'classifier.py',
        '--cfg-options',
        'default_hooks.checkpoint.by_epoch=False',
        'default_hooks.checkpoint.interval=1',
        'default_hooks.finite_loss.interval=1',
        patch=SPOIL_RANK_1,
        exit_code=1,
    )
    assert 'are not finite and not saved at iteration 1 ' in first.error
    assert 'The loss is not finite (loss=nan) at' in second.error
    assert not list(first.work_dir.glob('*.pth*'))


def test_sharded_training_equals_ddp_and_resumes(
    run_tool, run_ranks, configs, tmp_path
) -> None:
    config = configs / 'classifier_fsdp.py'
    clip = ['--cfg-options', 'optim_wrapper.clip_grad.max_norm=0.1']
    plain = run_ranks('train.py', configs / 'classifier.py', *clip)[0]
    sharded = run_ranks('train.py', config, *clip)[0]
    checkpoint = sharded.work_dir / 'epoch_1.pth'
    resumed = run_ranks('train.py', config, '--resume', checkpoint, *clip)[0]
    # Each process holds a part, but all parts are clipped together.
    norms = plain.scalars('grad_norm')
    assert min(norms) > 0.1
    assert sharded.scalars('grad_norm') == pytest.approx(norms, rel=1e-4)
    expected = plain.weights('epoch_2.pth')
    count = sum(value.numel() for value in expected.values())
    assert f'{count / 1e6:.2f} M, ' in sharded.output
    for job in (sharded, resumed):
        for key, value in job.weights('epoch_2.pth').items():
            assert (value - expected[key]).abs().max() < 1e-5

    checkpoint = sharded.work_dir / 'epoch_2.pth'
    tested = run_tool('test.py', configs / 'classifier.py', checkpoint)
    assert tested.exit_code == 0, tested.output
    (top1,) = plain.scalars('accuracy/top1')[-1:]
    assert f'| {top1:.4g}' in (tested.work_dir / 'metrics.md').read_text()


@pytest.mark.parametrize(
    ('name', 'last'),
    [
        pytest.param('mask_rcnn', 'epoch_1.pth', marks=pytest.mark.slow),
        ('upernet', 'iter_6.pth'),
    ],
)
def test_dense_models_train_sharded(
    run_tool, run_ranks, trained, configs, name, last
) -> None:
    start = trained(name).weights(last)
    arguments = [
        'train.py',
        configs / f'{name}.py',
        '--cfg-options',
        f'load_from={trained(name).work_dir / last}',
        'optim_wrapper.optimizer.type=SGD',
    ]
    plain, _ = run_ranks(*arguments)
    sharded, _ = run_ranks(
        *arguments,
        'runner_type=FlexibleRunner',
        'strategy.type=ShardedStrategy',
    )
    counts = re.compile(r'([1-9]\d*) of \1 parameters, 0 tensors')
    assert counts.search(plain.output)[0] == counts.search(sharded.output)[0]
    expected = plain.weights(last)
    weights = sharded.weights(last)
    assert weights.keys() == expected.keys()
    for key, value in weights.items():
        # Mask R-CNN learns from RoIs picked at random.
        assert (value - expected[key]).abs().max() < 1e-4
    assert any((weights[key] != start[key]).any() for key in weights)

    checkpoint = sharded.work_dir / last
    tested = run_tool('test.py', configs / f'{name}.py', checkpoint)
    assert tested.exit_code == 0, tested.output


SIGTERM_TO_RANK_1 = """
import os, signal
from mmengine.hooks import IterTimerHook

def send(self, runner, *args, **kwargs):
    if runner.iter + 1 == 3 and os.environ['RANK'] == '1':
        os.kill(os.getpid(), signal.SIGTERM)

IterTimerHook.before_train_iter = send
"""


@pytest.mark.parametrize('name', ['classifier', 'classifier_fsdp'])
def test_sigterm_to_one_rank_saves_and_resumes_all(
    run_ranks, configs, name
) -> None:
    arguments = ['train.py', configs / f'{name}.py']
    whole, _ = run_ranks(*arguments)
    jobs = run_ranks(
        *arguments,
        *('--cfg-options', 'default_hooks.save_on_signal.interval=3'),
        patch=SIGTERM_TO_RANK_1,
        exit_code=143,
    )
    assert 'Stopped by SIGTERM at iteration 3' in jobs[0].output
    assert 'destroy_process_group' not in jobs[0].output
    resumed, _ = run_ranks(*arguments, '--resume', work_dir=jobs[0].work_dir)
    assert 'interrupted.pth at iteration 3' in resumed.output
    expected = whole.weights('epoch_2.pth')
    for key, value in resumed.weights('epoch_2.pth').items():
        assert (value - expected[key]).abs().max() < 1e-6


def test_full_disk_leaves_the_older_checkpoint_of_sharded_training(
    run_ranks, configs, tmp_path
) -> None:
    work_dir = tmp_path / 'work_dir'
    work_dir.mkdir()
    os.symlink('/dev/full', work_dir / 'epoch_2.pth.partial')
    arguments = [
        'train.py',
        configs / 'classifier_fsdp.py',
        '--cfg-options',
        'default_hooks.checkpoint.max_keep_ckpts=1',
    ]
    (first, _) = run_ranks(*arguments, work_dir=work_dir, exit_code=1)
    assert 'Could not save' in first.error
    assert sorted(p.name for p in work_dir.glob('epoch*')) == ['epoch_1.pth']
    run_ranks(*arguments[:2], '--resume', *arguments[2:], work_dir=work_dir)
    assert sorted(p.name for p in work_dir.glob('epoch*')) == ['epoch_2.pth']


RECORD_NOISE = """
import torch
from mmengine.hooks import IterTimerHook

def record(self, runner, *args, **kwargs):
    with open('noise.txt', 'a') as file:
        file.write(f'{torch.rand(()).item()}\\n')

IterTimerHook.after_train_iter = record
"""


def test_processes_drop_different_paths(run_ranks, configs) -> None:
    jobs = run_ranks('train.py', configs / 'classifier.py', patch=RECORD_NOISE)
    first, second = (
        (job.folder / 'noise.txt').read_text().split() for job in jobs
    )
    assert len(first) == len(second) == 4
    assert len({*first, *second}) == 8


def test_results_are_gathered_without_a_common_folder(
    run_tool, run_ranks, trained, configs
) -> None:
    checkpoint = trained('upernet').work_dir / 'iter_6.pth'
    arguments = ['test.py', configs / 'upernet.py', checkpoint]
    hook = 'mmvheat.engine.hooks.gather_results_hook'
    patch = f'import {hook} as hook\nhook._is_shared = lambda folder: False'
    one = run_tool(*arguments)
    two = run_ranks(*arguments, patch=patch)[0]
    metrics = [
        (job.work_dir / 'metrics.json').read_text().split('"metrics"')[1]
        for job in (one, two)
    ]
    assert metrics[0] == metrics[1]
