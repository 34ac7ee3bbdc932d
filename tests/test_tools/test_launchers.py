"""The shell scripts start ranks on one machine, on several and on Slurm."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).parents[2] / 'tools'


class Launch:
    """A shell script that runs in the background and writes to a file."""

    def __init__(self, command: list, env: dict, cwd: Path, log: Path) -> None:
        self.log = log
        self.mark = f'LAUNCH={uuid.uuid4()}'
        name, value = self.mark.split('=')
        with log.open('w') as file:
            self.process = subprocess.Popen(
                list(map(str, command)),
                env={**env, name: value},
                cwd=cwd,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text()

    @property
    def tail(self) -> str:
        """The last lines of it."""
        return '\n'.join(self.output.splitlines()[-30:])

    def wait_for(self, text: str) -> None:
        """Wait until it prints ``text``."""
        deadline = time.monotonic() + 200
        while text not in self.output:
            assert self.process.poll() is None, f'ended:\n{self.tail}'
            assert time.monotonic() < deadline, f'hangs:\n{self.tail}'
            time.sleep(0.2)

    def wait(self, timeout: float = 200) -> int:
        """Wait for its exit code; then none of its processes is left."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f'hangs:\n{self.tail}')
        assert not self.processes(), self.tail
        return code

    def processes(self) -> list[int]:
        """The processes of this launch, whoever is their parent by now."""
        found = []
        for folder in Path('/proc').glob('[0-9]*'):
            try:
                if self.mark.encode() in (folder / 'environ').read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue  # it has just ended, or is another user's
        return found

    def ranks(self) -> list[int]:
        """The processes that compute, in order."""
        children = f'/proc/{self.process.pid}/task/{self.process.pid}/children'
        return sorted(map(int, Path(children).read_text().split()))

    def kill(self) -> None:
        """End every process of it."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def launch(shell_env, tmp_path):
    """Start a shell script; none of its processes outlives the test."""
    launches = []

    def start(
        script: Path | str, *arguments: object, cwd=tmp_path, **env: str
    ) -> Launch:
        log = tmp_path / f'log_{len(launches)}.txt'
        command = [TOOLS / script, *arguments]
        launches.append(Launch(command, {**shell_env, **env}, cwd, log))
        return launches[-1]

    yield start
    for launched in launches:
        launched.kill()


@pytest.mark.slow
def test_shell_scripts_pass_arguments_through_from_any_folder(
    configs, launch, tmp_path
) -> None:
    # Spaces in every path: scripts, config, work dir, checkpoint.
    home = tmp_path / 'a clone'
    shutil.copytree(TOOLS, home / 'my tools')
    os.symlink(TOOLS.parent / 'mmvheat', home / 'mmvheat')
    os.symlink(home / 'my tools' / 'dist_test.sh', tmp_path / 'my test')
    shutil.copy(configs / 'upernet.py', home / 'my config.py')
    with socket.socket() as listener:
        with contextlib.suppress(OSError):
            listener.bind(('', 29500))  # the default port is taken
            listener.listen()
        train = launch(
            home / 'my tools' / 'dist_train.sh',
            'a clone/my config.py',
            '1',
            '--work-dir',
            'a clone/work dir',
            '--cfg-options',
            "note=isn't it a note?",
            'train_dataloader.batch_size=3',
        )
        assert train.wait() == 0, train.tail
    assert '3 = 1 x 3' in train.output
    written = (home / 'work dir' / 'my config.py').read_text()
    assert 'note = "isn\'t it a note?"' in written

    test = launch(
        tmp_path / 'my test',
        home / 'my config.py',
        home / 'work dir' / 'iter_6.pth',
        '2',
        '--work-dir',
        home / 'work dir',
        '--tta',
        cwd='/',
    )
    assert test.wait() == 0, test.tail
    assert (home / 'work dir' / 'metrics_tta.json').is_file()


def _start_two_machines(
    launch, free_port: str, *arguments: object
) -> list[Launch]:
    """Two launchers of one rank each, which meet by address."""
    env = dict(NNODES='2', MASTER_ADDR='127.0.0.1', PORT=free_port)
    return [
        launch('dist_train.sh', *arguments, **env, NODE_RANK=str(node))
        for node in (0, 1)
    ]


@pytest.mark.slow
def test_two_machines_train_as_one_with_twice_the_batch(
    configs, run_tool, launch, free_port, tmp_path
) -> None:
    options = [
        '--cfg-options',
        'train_cfg.max_iters=20',
        'default_hooks.checkpoint.interval=20',
        'model.decode_head.norm_cfg=None',
        'model.auxiliary_head.norm_cfg=None',
        'optim_wrapper.optimizer.eps=1e-4',  # gradients of rounding errors
    ]
    config = configs / 'upernet.py'
    work_dir = ['--work-dir', tmp_path / 'work_dir']
    machines = _start_two_machines(
        launch, free_port, config, '1', *work_dir, *options
    )
    for machine in machines:
        assert machine.wait() == 0, machine.tail
    assert '4 = 2 x 2' in machines[0].output
    one = run_tool(
        'train.py', config, *options, 'train_dataloader.batch_size=4'
    )
    expected = one.weights('iter_20.pth')
    checkpoint = torch.load(
        tmp_path / 'work_dir' / 'iter_20.pth', weights_only=False
    )
    for key, value in checkpoint['state_dict'].items():
        assert (value - expected[key]).abs().max() < 1e-4


LONG = [
    '--cfg-options',
    'train_cfg.max_epochs=100000',
    'train_cfg.val_interval=100000',
    'default_hooks.checkpoint.interval=100000',
]
RUNNING = 'Epoch(train)      [3]'  # as wide as the last epoch's number


@pytest.mark.slow
def test_killed_rank_ends_all_within_a_minute(
    configs, launch, tmp_path
) -> None:
    run = launch('dist_train.sh', configs / 'classifier.py', '2', *LONG)
    run.wait_for(RUNNING)
    os.kill(run.ranks()[1], signal.SIGKILL)
    assert run.wait(timeout=60) == 1
    last = run.output.splitlines()[-1]
    assert last.startswith('error: rank 1 ended with SIGKILL')


@pytest.mark.slow
def test_killed_rank_ends_those_of_other_machines(
    configs, launch, free_port, tmp_path
) -> None:
    work_dir = ['--work-dir', tmp_path / 'work_dir']
    machines = _start_two_machines(
        launch, free_port, configs / 'classifier.py', '1', *work_dir, *LONG
    )
    machines[0].wait_for(RUNNING)
    os.kill(machines[1].ranks()[0], signal.SIGKILL)
    for rank, machine in enumerate(machines):
        assert machine.wait(timeout=60) == 1
        last = machine.output.splitlines()[-1]
        assert last.startswith(f'error: rank {rank} ended with')


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves_and_resumes(
    configs, launch, tmp_path
) -> None:
    arguments = [configs / 'classifier.py', '2', '--work-dir', 'work_dir']
    run = launch('dist_train.sh', *arguments, *LONG)
    run.wait_for(RUNNING)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(timeout=60) == 143, run.tail
    assert 'Traceback' not in run.output
    assert (tmp_path / 'work_dir' / 'interrupted.pth').is_file()
    epochs = run.output.count('Epoch(train)') // 2 + 2
    resumed = launch(
        'dist_train.sh',
        *arguments,
        '--resume',
        '--cfg-options',
        f'train_cfg.max_epochs={epochs}',
    )
    assert resumed.wait() == 0, resumed.tail
    assert 'interrupted.pth at iteration' in resumed.output
    assert not (tmp_path / 'work_dir' / 'interrupted.pth').exists()


SRUN = """#!/usr/bin/env bash
# Starts the command behind srun's options in two tasks, as srun does.
export SLURM_NTASKS=2 SLURM_NODELIST='node[1]' SLURM_JOB_ID=PORT
while [ "$1" != "$PYTHON" ]; do shift; done
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
wait $first && wait $second
"""


@pytest.mark.slow
def test_slurm_scripts_train_and_test(
    configs, launch, shell_env, free_port, tmp_path
) -> None:
    fakes = {'srun': SRUN.replace('PORT', free_port), 'scontrol': SCONTROL}
    for name, text in fakes.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    env = dict(PATH=f'{tmp_path}:{shell_env["PATH"]}', GPUS='2')
    shutil.copy(configs / 'classifier.py', tmp_path / 'my config.py')
    arguments = ['gpus', 'a job', 'my config.py']
    train = launch('slurm_train.sh', *arguments, 'work dir', **env)
    assert train.wait() == 0, train.tail
    assert '4 = 2 x 2' in train.output
    checkpoint = 'work dir/epoch_2.pth'
    test = launch(
        *('slurm_test.sh', *arguments, checkpoint, '--work-dir', 'work dir'),
        **env,
    )
    assert test.wait() == 0, test.tail
    assert (tmp_path / 'work dir' / 'metrics.json').is_file()


SCONTROL = """#!/bin/sh
# Names the hosts of a job.
echo 127.0.0.1
"""


@pytest.mark.gpu
def test_all_gpus_train_and_test(configs, launch, tmp_path) -> None:
    count = torch.cuda.device_count()
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = ','.join(map(str, range(count)))
    env = dict(CUDA_VISIBLE_DEVICES=visible or gpus)
    arguments = [count, '--work-dir', 'work_dir']
    config = configs / 'upernet.py'
    train = launch('dist_train.sh', config, *arguments, **env)
    assert train.wait() == 0, train.tail
    assert f'{count} x {torch.cuda.get_device_name()}' in train.output
    checkpoint = tmp_path / 'work_dir' / 'iter_6.pth'
    test = launch(
        *('dist_test.sh', config, checkpoint, *arguments, '--tta'), **env
    )
    assert test.wait() == 0, test.tail


@pytest.mark.parametrize(
    ('env', 'expected'),
    [
        (dict(NNODES='2'), 'needs MASTER_ADDR'),
        (dict(NNODES='two'), 'NNODES must be a number from 1 to 100000, but '),
        (
            dict(NNODES='2', NODE_RANK='2', MASTER_ADDR='127.0.0.1'),
            'NODE_RANK must be a number from 0 to 1',
        ),
        (dict(PORT='taken'), 'is taken; set PORT to another one'),
    ],
)
def test_machines_that_cannot_meet(env, expected, shell_env) -> None:
    with socket.socket() as listener:
        listener.bind(('', 0))
        listener.listen()
        if 'PORT' in env:
            env = dict(PORT=str(listener.getsockname()[1]))
        result = subprocess.run(
            [TOOLS / 'dist_train.sh', 'config.py', '1'],
            env={**shell_env, **env},
            capture_output=True,
            text=True,
        )
    assert result.returncode == 1
    assert result.stderr.startswith('error: ')
    assert expected in result.stderr
    assert result.stderr.count('\n') == 1


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
