"""tools/train.py trains every task and says what it does."""

from __future__ import annotations

import re

import cv2
import pytest

TASKS = ('classifier', 'mask_rcnn', 'upernet')


@pytest.mark.parametrize('name', TASKS)
def test_every_task_leaves_checkpoint_config_and_scalars(
    trained, name
) -> None:
    job = trained(name)
    assert list(job.work_dir.glob('*_*.pth'))
    assert (job.work_dir / f'{name}.py').is_file()
    assert len(job.scalars('loss')) > 2
    curves = cv2.imread(str(job.work_dir / 'learning_curves.png'))
    assert curves is not None
    assert curves.std() > 0


def test_summary_comes_before_the_first_iteration(trained) -> None:
    output = trained('mask_rcnn').output
    summary = output[output.index('Run summary') :]
    summary, training = summary.split('Epoch(train)', 1)
    weights = trained('mask_rcnn').weights('epoch_1.pth')
    count = sum(value.numel() for value in weights.values())
    assert 'eta: ' in training
    for expected in (
        'mask_rcnn.py',
        'MaskRCNN, backbone vHeat',
        'CPU, 1 process',
        f'{count / 1e6:.2f} M, {count / 1e6:.2f} M trained, '
        f'{count * 4 / 2**20:.1f} MiB',
        '2 = 1 x 2',
        '0.001 (AdamW); --auto-scale-lr would set 0.000125',
        'from scratch',
    ):
        assert expected in summary


def test_summary_counts_what_a_checkpoint_gives(
    run_tool, trained, configs
) -> None:
    source = trained('classifier').work_dir / 'epoch_2.pth'
    backbone = run_tool(
        'train.py',
        configs / 'upernet.py',
        '--cfg-options',
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={source}',
        'train_cfg.max_iters=1',
        'train_cfg.val_interval=2',
    )
    weights = trained('upernet').weights('iter_6.pth')
    wanted = sum(key.startswith('backbone.') for key in weights)
    summary = backbone.output.split('Run summary')[1]
    assert f'backbone from {source} (' in summary
    loaded = int(re.search(r'(\d+) tensors loaded, 0 FVEs', summary)[1])
    # A classifier has no norms for the outputs of the stages.
    assert loaded + 8 == wanted
    assert '8 missing (outnorm0, outnorm1, outnorm2, outnorm3)' in summary

    whole = run_tool(
        'train.py',
        configs / 'upernet.py',
        '--cfg-options',
        f'load_from={source}',
        'train_cfg.max_iters=1',
        'train_cfg.val_interval=2',
    )
    summary = whole.output.split('Run summary')[1]
    total = sum('running' not in k and 'num_b' not in k for k in weights)
    # It has the norm of the last stage, and a head of another name.
    assert f'{source} ({loaded + 2} of {total} parameters, 2 ' in summary


TRACKER = """
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

class Recorder(ModuleType):
    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return Recorder(f'{self.__name__}.{name}')

    def __call__(self, *args, **kwargs):
        with open('calls.txt', 'a') as file:
            file.write(f'{self.__name__} {args} {kwargs}\\n')
        return self

for name in ('wandb', 'mlflow'):
    sys.modules[name] = Recorder(name)
    sys.modules[name].__spec__ = ModuleSpec(name, None)
"""


@pytest.mark.parametrize('tracker', ['wandb', 'mlflow'])
def test_one_option_logs_to_trackers(run_tool, configs, tracker) -> None:
    job = run_tool(
        'train.py',
        configs / 'classifier.py',
        *('--track', tracker, 'tensorboard'),
        patch=TRACKER,
    )
    assert job.exit_code == 0, job.output
    calls = (job.folder / 'calls.txt').read_text()
    for name in ('loss', 'accuracy/top1'):
        assert re.search(rf"^{tracker}\.log.*'{name}', \d", calls, re.M)
    assert list(job.work_dir.glob('*/vis_data/events.out.tfevents.*'))


def test_auto_scale_lr_scales_by_the_batch(run_tool, configs) -> None:
    job = run_tool('train.py', configs / 'mask_rcnn.py', '--auto-scale-lr')
    assert job.scalars('lr')[0] == pytest.approx(1e-3 * 2 / 16)


@pytest.mark.parametrize('name', TASKS)
def test_bf16_trains_close_to_float32(
    run_tool, trained, configs, name
) -> None:
    job = run_tool('train.py', configs / f'{name}.py', '--amp')
    assert job.exit_code == 0, job.output
    assert 'BFloat16OptimWrapper' in job.output
    losses, expected = job.scalars('loss'), trained(name).scalars('loss')
    assert losses != expected
    assert losses[0] == pytest.approx(expected[0], rel=0.02)


def test_seed_option_decides_the_run(run_tool, configs) -> None:
    jobs = [
        run_tool('train.py', configs / 'classifier.py', '--seed', seed)
        for seed in (1, 1, 2)
    ]
    first, again, other = (job.scalars('loss') for job in jobs)
    assert first == again
    assert first != other


def test_accumulation_steps_the_optimizer_every_second_iteration(
    run_tool, configs
) -> None:
    # Two iterations of 2 images accumulated equal one of 4.
    runs = {}
    for batch, steps in ((4, 1), (2, 2)):
        job = run_tool(
            'train.py',
            configs / 'upernet.py',
            '--cfg-options',
            f'train_dataloader.batch_size={batch}',
            f'optim_wrapper.accumulative_counts={steps}',
            f'train_cfg.max_iters={4 * steps}',
            f'default_hooks.checkpoint.interval={4 * steps}',
            'model.decode_head.norm_cfg=None',
            'model.auxiliary_head.norm_cfg=None',
            'optim_wrapper.optimizer.type=SGD',
            'optim_wrapper.optimizer.lr=0.1',
        )
        runs[batch] = job.weights(f'iter_{4 * steps}.pth')
    for name, value in runs[4].items():
        assert (value - runs[2][name]).abs().max() < 1e-4


def test_gradient_checkpointing_gives_the_same_losses(
    run_tool, trained, configs
) -> None:
    job = run_tool(
        'train.py',
        configs / 'upernet.py',
        '--cfg-options',
        'model.backbone.with_cp=True',
    )
    expected = trained('upernet').scalars('loss')
    assert job.scalars('loss') == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_compiled_model_gives_the_same_losses(
    run_tool, start_tool, trained, configs
) -> None:
    job = start_tool(
        *('train.py', configs / 'classifier.py', '--cfg-options'),
        'compile.backend=aot_eager',  # tests/test_models has the default
    )
    job.wait(280)
    expected = trained('classifier').scalars('loss')
    assert job.scalars('loss') == pytest.approx(expected, rel=1e-3)
