"""The shell scripts start ranks on one machine, on several and on Slurm.

Where the scripts alone are tested, small programs stand in for python and
srun and print how they were called; where torchrun is, a few lines stand in
for the training.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

TOOLS = Path(__file__).parents[2] / 'tools'
FAKE_PYTHON = """#!/bin/sh
[ "$1" = -c ] && exit {without_torch}
printf '%s\\n' $$ "$0" "$@"
"""
FAKE_SRUN = '#!/bin/sh\nprintf "%s\\n" srun "$@"\n'


def write_program(path: Path, text: str) -> Path:
    """A file that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the scripts whose path holds spaces."""
    for script in TOOLS.glob('*.sh'):
        copy = tmp_path / 'a clone' / 'my tools' / script.name
        write_program(copy, script.read_text())
    return tmp_path / 'a clone'


@pytest.fixture
def call(clone: Path, tmp_path: Path):
    """Call a script of the clone with what stands in for python and srun."""
    folder = tmp_path / 'bin'
    write_program(folder / 'python', FAKE_PYTHON.format(without_torch=0))
    write_program(folder / 'srun', FAKE_SRUN)

    def run(script: str | Path, *arguments: str, **env) -> SimpleNamespace:
        process = subprocess.Popen(
            [clone / 'my tools' / script, *arguments],
            cwd=tmp_path,
            env={'PATH': f'{folder}:/usr/bin:/bin', **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        out, error = process.communicate()
        return SimpleNamespace(
            words=out.splitlines(),
            error=error,
            code=process.returncode,
            pid=process.pid,
        )

    return run


def sentence(run: SimpleNamespace) -> str:
    """The line with which a script refuses, proven to come alone."""
    assert run.words == [] and run.code in (1, 2)
    assert run.error.count('\n') == 1, run.error
    return run.error


# --- the scripts ------------------------------------------------------------


@pytest.mark.parametrize(
    ('script', 'tool', 'words'),
    [
        ('dist_train.sh', 'train.py', ['my config.py', '2']),
        ('dist_test.sh', 'test.py', ['my config.py', 'my weights.pth', '2']),
    ],
)
def test_torchrun_gets_every_word_and_every_signal(
    call, clone, tmp_path, script, tool, words
) -> None:
    (tmp_path / 'link').symlink_to(clone / 'my tools' / script)
    options = ['--cfg-options', "note=isn't it?", 'a=1']
    run = call(tmp_path / 'link', *words, *options)
    pid, _, launcher, *arguments = run.words
    assert launcher == str(clone / 'my tools' / 'dist_launch.py')
    assert '--standalone' in arguments  # on a port that is free
    assert '--nproc-per-node=2' in arguments
    start = arguments.index(str(clone / 'my tools' / tool)) + 1
    assert arguments[start:] == [*words[:-1], *options, '--launcher=pytorch']
    assert int(pid) == run.pid  # a signal to the script is one to torchrun


def test_machines_meet_where_they_are_told_to(call) -> None:
    where = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1')
    run = call('dist_train.sh', 'config.py', '8', PORT='29511', **where)
    for word in ('nnodes=2', 'node-rank=1', 'master-addr=10.0.0.1'):
        assert f'--{word}' in run.words
    assert '--master-port=29511' in run.words
    assert '--standalone' not in run.words


@pytest.mark.parametrize(
    ('script', 'words', 'before'),
    [
        ('train', ['my config.py'], []),
        ('train', ['my config.py', 'work dir'], ['--work-dir']),
        ('test', ['my config.py', 'my weights.pth'], []),
    ],
)
def test_srun_gets_every_word(call, clone, script, words, before) -> None:
    options = ['--cfg-options', 'a=1']
    run = call(
        *(f'slurm_{script}.sh', 'gpus', 'a job', *words, *options),
        GPUS='4',
        SRUN_ARGS='--qos low',
    )
    assert run.words[:4] == ['srun', '-p', 'gpus', '--job-name=a job']
    for word in ('--ntasks=4', '--ntasks-per-node=4', '--gres=gpu:4'):
        assert word in run.words
    assert run.words[run.words.index('--qos') + 1] == 'low'
    start = run.words.index(str(clone / 'my tools' / f'{script}.py')) + 1
    expected = [words[0], *before, *words[1:], *options, '--launcher=slurm']
    assert run.words[start:] == expected


@pytest.mark.parametrize(
    'command',
    [
        ['dist_train.sh', 'config.py', '1'],
        ['dist_test.sh', 'config.py', 'weights.pth', '1'],
        ['slurm_train.sh', 'gpus', 'job', 'config.py'],
        ['slurm_test.sh', 'gpus', 'job', 'config.py', 'weights.pth'],
    ],
)
def test_environment_is_the_active_one_else_that_of_the_clone(
    call, clone, tmp_path, command
) -> None:
    text = FAKE_PYTHON.format(without_torch=0)
    built = str(write_program(clone / '.venv/bin/python', text))
    other = str(write_program(tmp_path / 'other' / 'python', text))
    assert built not in call(*command).words
    text = FAKE_PYTHON.format(without_torch=1)
    write_program(tmp_path / 'bin' / 'python', text)
    assert built in call(*command).words
    named = call(*command, PYTHON=other).words
    assert other in named and built not in named
    shutil.rmtree(clone / '.venv')
    error = sentence(call(*command))
    assert error.startswith('error: python has no torch here')
    assert 'make env' in error


@pytest.mark.parametrize(
    ('command', 'env', 'expected'),
    [
        ('dist_train.sh config.py', {}, 'usage'),
        ('dist_test.sh config.py weights.pth', {}, 'usage'),
        ('slurm_train.sh gpus job', {}, 'usage'),
        ('slurm_test.sh gpus job config.py', {}, 'usage'),
        ('dist_train.sh config.py four', {}, "is 'four'; the order is"),
        ('dist_test.sh config.py 0 weights.pth', {}, 'the order is'),
        ('dist_train.sh config.py 1', {'NNODES': '2'}, 'needs MASTER_ADDR'),
        ('dist_train.sh config.py 1', {'NNODES': 'two'}, "are 'two' and '0'"),
        ('dist_train.sh config.py 1', {'NODE_RANK': '1'}, "are '1' and '1'"),
    ],
)
def test_wrong_use_is_told_in_a_line(call, command, env, expected) -> None:
    assert expected in sentence(call(*command.split(), **env))


# --- torchrun ---------------------------------------------------------------

SLEEPS = """
import os, signal, sys, time
print('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'], flush=True)
if sys.argv[1:]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print('running', flush=True)
    time.sleep({'0': 60, '1': 0}[os.environ['RANK']])
    sys.exit(int(sys.argv[1]))
"""
MEETS = """
import os, time, torch, torch.distributed as dist
dist.init_process_group('gloo')
rank = torch.tensor(float(dist.get_rank() + 1))
dist.all_reduce(rank)
print('the ranks give', int(rank), 'pid', os.getpid(), flush=True)
while True:
    dist.barrier()
    time.sleep(0.1)
"""


@pytest.fixture
def write(tmp_path: Path):
    """Write a script for torchrun to start."""

    def write(text: str) -> Path:
        path = tmp_path / 'a script.py'
        path.write_text(text)
        return path

    return write


def wait_for(job, text: str) -> None:
    """Wait until a job prints ``text``."""
    deadline = time.monotonic() + 120
    while not job.log.exists() or text not in job.output:
        assert job.process.is_alive() and time.monotonic() < deadline
        time.sleep(0.1)


def test_every_rank_is_started(run_tool, write) -> None:
    job = run_tool(
        *('dist_launch.py', '--standalone', '--nproc-per-node=2'),
        write(SLEEPS),
    )
    assert job.exit_code == 0, job.output
    assert 'rank 0 of 2' in job.output and 'rank 1 of 2' in job.output


@pytest.mark.parametrize(
    ('number', 'code', 'last'),
    [
        (3, 1, 'error: rank 1 ended with exit code 3 and all other ranks'),
        (143, 143, 'stopped by SIGTERM; --resume continues a training.'),
    ],
)
def test_last_line_names_the_rank_that_ended(
    run_tool, write, number, code, last
) -> None:
    job = run_tool(
        *('dist_launch.py', '--standalone', '--nproc-per-node=2'),
        *(write(SLEEPS), number),
    )
    assert job.exit_code == code
    assert job.output.splitlines()[-1].startswith(last)
    assert 'Traceback' not in job.output


def test_sigterm_stops_every_rank(start_tool, write) -> None:
    job = start_tool(
        *('dist_launch.py', '--standalone', '--nproc-per-node=1'),
        *(write(SLEEPS), '0'),
    )
    wait_for(job, 'running')
    job.process.terminate()
    assert job.wait(timeout=60).exit_code == 143
    last = job.output.splitlines()[-1]
    assert last == 'stopped by SIGTERM; --resume continues a training.'


def test_two_machines_start_and_end_together(
    start_tool, write, free_port
) -> None:
    where = ['--nnodes=2', '--nproc-per-node=1', '--master-addr=127.0.0.1']
    where += [f'--master-port={free_port}', write(MEETS)]
    machines = [
        start_tool('dist_launch.py', f'--node-rank={node}', *where)
        for node in (0, 1)
    ]
    for machine in machines:
        wait_for(machine, 'the ranks give 3')
    os.kill(int(machines[1].output.split()[-1]), signal.SIGKILL)
    endings = ('exit code 1', 'SIGKILL')
    for rank, machine in enumerate(machines):
        assert machine.wait(timeout=60).exit_code == 1
        last = machine.output.splitlines()[-1]
        assert last.startswith(
            f'error: rank {rank} ended with {endings[rank]}'
        )


def test_port_that_is_taken_is_told(run_tool, write) -> None:
    with socket.socket() as listener:
        listener.bind(('', 0))
        listener.listen()
        port = listener.getsockname()[1]
        job = run_tool(
            *('dist_launch.py', '--nnodes=1', '--master-addr=127.0.0.1'),
            *(f'--master-port={port}', write(SLEEPS)),
        )
    assert 'at MASTER_ADDR and PORT' in job.error
    assert f'port: {port}' in job.error and 'in use' in job.error


# --- all of it --------------------------------------------------------------


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

    def wait_for(self, text: str) -> None:
        """Wait until it prints ``text``."""
        deadline = time.monotonic() + 200
        while text not in self.output:
            assert self.process.poll() is None, f'ended:\n{self.output}'
            assert time.monotonic() < deadline, f'hangs:\n{self.output}'
            time.sleep(0.2)

    def wait(self, timeout: float = 200) -> int:
        """Wait for its exit code; then none of its processes is left."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f'hangs:\n{self.output}')
        assert not self.processes(), self.output
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

    def kill(self) -> None:
        """End every process of it."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def launch(shell_env, tmp_path) -> Iterator:
    """Start a shell script; none of its processes outlives the test."""
    launches = []

    def start(script: str, *arguments: object, **env: str) -> Launch:
        log = tmp_path / f'log_{len(launches)}.txt'
        command = [TOOLS / script, *arguments]
        launches.append(Launch(command, {**shell_env, **env}, tmp_path, log))
        return launches[-1]

    yield start
    for launched in launches:
        launched.kill()


TWO_TASKS = """#!/usr/bin/env bash
# Starts the command behind srun's options in two tasks, as srun does.
export SLURM_NTASKS=2 SLURM_NODELIST='node[1]' SLURM_JOB_ID={port}
while [ "$1" != "$PYTHON" ]; do shift; done
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
wait $first && wait $second
"""
SCONTROL = '#!/bin/sh\necho 127.0.0.1  # the hosts of a job\n'


@pytest.mark.slow
@pytest.mark.timeout(900)  # three starts of two processes
def test_training_stops_resumes_and_is_tested(
    configs, launch, shell_env, free_port, tmp_path
) -> None:
    config = f"_base_ = '{configs / 'classifier.py'}'\n"
    (tmp_path / 'my config.py').write_text(config)
    train = ['dist_train.sh', 'my config.py', '2', '--work-dir', 'work dir']
    epochs = ['train_cfg.max_epochs=100000', 'train_cfg.val_interval=100000']
    run = launch(*train, '--cfg-options', *epochs)
    run.wait_for('Epoch(train)      [3]')  # as wide as the last epoch's
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(timeout=60) == 143, run.output
    assert 'Traceback' not in run.output
    assert '4 = 2 x 2' in run.output
    work_dir = tmp_path / 'work dir'
    assert (work_dir / 'interrupted.pth').is_file()

    last = run.output.count('Epoch(train)') // 2 + 2
    write_program(tmp_path / 'srun', TWO_TASKS.format(port=free_port))
    write_program(tmp_path / 'scontrol', SCONTROL)
    resumed = launch(
        *('slurm_train.sh', 'gpus', 'job', 'my config.py', 'work dir'),
        *('--resume', '--cfg-options', f'train_cfg.max_epochs={last}'),
        PATH=f'{tmp_path}:{shell_env["PATH"]}',
        GPUS='2',
    )
    assert resumed.wait() == 0, resumed.output
    assert 'interrupted.pth at iteration' in resumed.output
    assert not (work_dir / 'interrupted.pth').exists()
    scalars = max(work_dir.glob('*/vis_data/scalars.json')).read_text()
    validated = json.loads(scalars.splitlines()[-1])['accuracy/top1']

    weights = ['my config.py', f'work dir/epoch_{last}.pth']
    test = launch('dist_test.sh', *weights, '2', '--work-dir', 'work dir')
    assert test.wait() == 0, test.output
    metrics = json.loads((work_dir / 'metrics.json').read_text())['metrics']
    assert metrics['accuracy/top1'] == validated


@pytest.mark.gpu
def test_all_gpus_train_and_test(configs, launch, tmp_path) -> None:
    count = torch.cuda.device_count()
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = ','.join(map(str, range(count)))
    env = dict(CUDA_VISIBLE_DEVICES=visible or gpus)
    arguments = [count, '--work-dir', 'work_dir']
    config = configs / 'upernet.py'
    train = launch('dist_train.sh', config, *arguments, **env)
    assert train.wait() == 0, train.output
    assert f'{count} x {torch.cuda.get_device_name()}' in train.output
    checkpoint = tmp_path / 'work_dir' / 'iter_6.pth'
    test = launch(
        *('dist_test.sh', config, checkpoint, *arguments, '--tta'), **env
    )
    assert test.wait() == 0, test.output
