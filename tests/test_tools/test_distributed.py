"""Several processes compute what one does, and fail together."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
RECORD_LOSSES = """
from mmengine.hooks import IterTimerHook

def record(self, runner, batch_idx, data_batch=None, outputs=None):
    with open('losses.txt', 'a') as file:
        file.write(f'{float(outputs["loss"].detach())}\\n')

IterTimerHook.after_train_iter = record
"""


def _losses(job) -> list[float]:
    lines = (job.log.parent / 'losses.txt').read_text().splitlines()
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
    runs = [
        run_ranks(
            'train.py',
            configs / 'classifier.py',
            '--cfg-options',
            'model_wrapper_cfg.type=MMDistributedDataParallel',
            f'model_wrapper_cfg.static_graph={static}',
        )
        for static in (False, True)
    ]
    default, static = (run[0].scalars('loss') for run in runs)
    assert static == pytest.approx(default, abs=1e-6)


def test_sharded_training_equals_ddp_and_resumes(
    run_tool, run_ranks, configs, tmp_path
) -> None:
    config = configs / 'classifier_fsdp.py'
    plain = run_ranks('train.py', configs / 'classifier.py')[0]
    sharded = run_ranks('train.py', config)[0]
    resumed = run_ranks(
        'train.py', config, '--resume', sharded.work_dir / 'epoch_1.pth'
    )[0]
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


@pytest.mark.slow
def test_shell_scripts_pass_arguments_through_from_any_folder(
    configs, shell_env, tmp_path
) -> None:
    # Spaces in every path: scripts, config, work dir, checkpoint.
    home = tmp_path / 'a clone'
    home.mkdir()
    os.symlink(TOOLS, home / 'my tools')
    config = home / 'my config.py'
    shutil.copy(configs / 'classifier.py', config)
    options = ['--cfg-options', 'train_dataloader.batch_size=1']
    train = subprocess.run(
        [
            home / 'my tools' / 'dist_train.sh',
            'a clone/my config.py',
            '2',
            '--work-dir',
            'a clone/work dir',
            *options,
        ],
        cwd=tmp_path,
        env=shell_env,
        capture_output=True,
        text=True,
    )
    assert train.returncode == 0, train.stderr
    assert '2 = 2 x 1' in train.stdout
    test = subprocess.run(
        [
            home / 'my tools' / 'dist_test.sh',
            config,
            home / 'work dir' / 'epoch_2.pth',
            '2',
            '--work-dir',
            home / 'work dir',
        ],
        cwd='/',
        env=shell_env,
        capture_output=True,
        text=True,
    )
    assert test.returncode == 0, test.stderr
    assert (home / 'work dir' / 'metrics.json').is_file()


@pytest.mark.slow
def test_two_launchers_meet_as_two_machines_do(
    configs, shell_env, tmp_path
) -> None:
    shell_env.update(NNODES='2', MASTER_ADDR='127.0.0.1', PORT='29717')
    launchers = [
        subprocess.Popen(
            [TOOLS / 'dist_train.sh', configs / 'classifier.py', '1']
            + ['--work-dir', tmp_path / 'work_dir'],
            env={**shell_env, 'NODE_RANK': str(rank)},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for rank in (1, 0)
    ]
    outputs = [launcher.communicate(timeout=200)[0] for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0]
    assert '4 = 2 x 2' in outputs[1]


@pytest.fixture
def long_run(configs, shell_env, tmp_path):
    """Start two ranks that would train for long, and wait till they do."""
    work_dir = tmp_path / 'work_dir'
    log = (tmp_path / 'log.txt').open('w')
    launcher = subprocess.Popen(
        [TOOLS / 'dist_train.sh', configs / 'classifier.py', '2']
        + ['--work-dir', work_dir]
        + ['--cfg-options', 'train_cfg.max_epochs=1000']
        + [
            'train_cfg.val_interval=1000',
        ]
        + ['default_hooks.checkpoint.interval=1000'],
        env=shell_env,
        cwd=tmp_path,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while 'Epoch(train) [3]' not in (tmp_path / 'log.txt').read_text():
        assert launcher.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.5)
    yield launcher
    if launcher.poll() is None:
        os.killpg(launcher.pid, signal.SIGKILL)
    log.close()


def _children(pid: int) -> list[int]:
    path = Path(f'/proc/{pid}/task/{pid}/children')
    return [int(child) for child in path.read_text().split()]


def _is_running(pid: int) -> bool:
    try:
        return 'Z' not in Path(f'/proc/{pid}/stat').read_text().split()[2]
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_killed_rank_ends_all_within_a_minute(long_run, tmp_path) -> None:
    ranks = _children(long_run.pid)[:2]
    os.kill(ranks[1], signal.SIGKILL)
    assert long_run.wait(timeout=60) == 1
    assert not any(map(_is_running, ranks))
    last = (tmp_path / 'log.txt').read_text().splitlines()[-1]
    assert last.startswith('error: rank 1 ended with SIGKILL')


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves_and_resumes(
    long_run, configs, shell_env, tmp_path
) -> None:
    long_run.send_signal(signal.SIGTERM)
    assert long_run.wait(timeout=60) == 143
    work_dir = tmp_path / 'work_dir'
    assert (work_dir / 'interrupted.pth').is_file()
    resumed = subprocess.run(
        [TOOLS / 'dist_train.sh', configs / 'classifier.py', '2']
        + ['--work-dir', work_dir, '--resume']
        + ['--cfg-options', 'train_cfg.max_epochs=3'],
        env=shell_env,
        capture_output=True,
        text=True,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert 'interrupted.pth at iteration' in resumed.stdout


@pytest.mark.parametrize(
    ('script', 'arguments', 'expected'),
    [
        ('dist_train.sh', ['config.py'], 'usage'),
        ('dist_test.sh', ['config.py', 'checkpoint.pth'], 'usage'),
        ('slurm_train.sh', ['partition', 'job'], 'usage'),
        ('slurm_test.sh', ['partition', 'job', 'config.py'], 'usage'),
        ('dist_train.sh', ['config.py', 'four'], "came 'four'"),
        ('dist_test.sh', ['config.py', '0', 'checkpoint.pth'], 'order'),
    ],
)
def test_wrong_use_of_a_shell_script(
    script, arguments, expected, shell_env
) -> None:
    result = subprocess.run(
        [TOOLS / script, *arguments],
        env=shell_env,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert expected in result.stderr
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize('kind', ['train', 'test'])
def test_slurm_script_hands_everything_to_srun(
    kind, shell_env, tmp_path
) -> None:
    fake = tmp_path / 'srun'
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    last = {'train': 'work dir', 'test': 'my checkpoint.pth'}[kind]
    result = subprocess.run(
        [TOOLS / f'slurm_{kind}.sh', 'gpus', 'a job', 'my config.py', last]
        + ['--cfg-options', 'a=1'],
        env={
            **shell_env,
            'PATH': f'{tmp_path}:{shell_env["PATH"]}',
            'GPUS': '4',
            'SRUN_ARGS': '--qos low',
        },
        capture_output=True,
        text=True,
        check=True,
    )
    words = result.stdout.splitlines()
    for word in ('--ntasks=4', '--ntasks-per-node=4', '--gres=gpu:4'):
        assert word in words
    start = words.index(str(TOOLS / f'{kind}.py'))
    tail = words[start + 1 :]
    middle = ['--work-dir'] if kind == 'train' else []
    assert words[words.index('--qos') + 1] == 'low'
    assert tail == [
        'my config.py',
        *middle,
        last,
        '--launcher=slurm',
        '--cfg-options',
        'a=1',
    ]
