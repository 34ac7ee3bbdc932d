"""The acceptance suite of a machine with GPUs, and the report it writes.

``make test-gpu`` runs it on CUDA. With ``MMVHEAT_TEST_DEVICE=cpu`` the same
tests run on the CPU, all but those of what only a GPU has.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.utils import get_git_hash
from mmengine.utils.dl_utils import collect_env
from prettytable import PrettyTable, TableStyle
from torch.utils.collect_env import get_nvidia_driver_version
from torch.utils.collect_env import run as run_command

from mmvheat import fast
from mmvheat.datasets.digit_scenes import make_digit_scenes

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'work_dirs/test_gpu'
REPORT = FOLDER / 'report.md'
RESULTS = FOLDER / 'results.json'
DEVICE = os.environ.get('MMVHEAT_TEST_DEVICE', 'cuda')
MINUTES = float(os.environ.get('MMVHEAT_TEST_MINUTES', 15))
# Of the whole suite, which make test-gpu runs in two parts.
START = float(os.environ.get('MMVHEAT_TEST_START', time.time()))
# Products that repeat bit by bit need it before CUDA starts.
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')

NO_DEVICE = 'there is no CUDA device; MMVHEAT_TEST_DEVICE=cpu needs none'
results: dict[str, dict] = {}


def pytest_sessionstart() -> None:
    """End where there is nothing to test, go on where a part has ended."""
    if DEVICE not in ('cuda', 'cpu'):
        pytest.exit(f'MMVHEAT_TEST_DEVICE is {DEVICE!r}, not cuda or cpu', 2)
    if not is_available():
        if 'MMVHEAT_TEST_DEVICE' in os.environ:
            pytest.exit(NO_DEVICE, 2)
        return
    if RESULTS.is_file():
        before = json.loads(RESULTS.read_text())
        if before['start'] == START:
            results.update(before['results'])


@pytest.fixture(scope='session', autouse=True)
def device() -> str:
    """The device under test, ``'cuda'`` or ``'cpu'``."""
    if not is_available():
        pytest.skip(NO_DEVICE)
    if DEVICE == 'cpu':
        torch.set_num_threads(1)  # Tiny networks gain nothing from more.
    return DEVICE


def is_available() -> bool:
    """Tell whether there is a device to test."""
    return DEVICE == 'cpu' or torch.cuda.is_available()


@pytest.fixture(params=['fast', 'plain'])
def state(request) -> Iterator[str]:
    """Run with the faster forwards, on a GPU by kernels, and plain ones."""
    contexts = dict(fast=nullcontext, plain=fast.disabled)
    with contexts[request.param]():
        yield request.param


@pytest.fixture
def cuda(device: str) -> str:
    """The device of a test of what a CPU does not have."""
    if device != 'cuda':
        pytest.skip('a CPU has nothing of the kind')
    return device


@pytest.fixture
def set_tf32() -> Callable[[bool], None]:
    """Says whether products and convolutions may use TF32."""

    def set_tf32(enabled: bool) -> None:
        torch.backends.cuda.matmul.allow_tf32 = enabled
        torch.backends.cudnn.allow_tf32 = enabled

    return set_tf32


@pytest.fixture(autouse=True)
def single_precision(set_tf32: Callable) -> Iterator[None]:
    """Keep TF32 out of single precision, where cuDNN would use it."""
    set_tf32(False)
    yield
    set_tf32(False)


@pytest.fixture
def check(record_property: Callable) -> Callable[..., None]:
    """Asserts the relative error of a tensor or a list of numbers."""

    def check(got: object, expected: object, bound: float, what='') -> None:
        got, expected = (
            torch.as_tensor(x).detach().cpu().double() for x in (got, expected)
        )
        assert got.shape == expected.shape
        size = expected.norm().clamp(min=1e-30)  # 0 of 0 is no error
        error = float((got - expected).norm() / size)
        record_property('error', (error, bound))
        assert error <= bound, what

    return check


@pytest.fixture(scope='session')
def all_ranks(device: str) -> int:
    """As many processes as there are cards; two on a CPU."""
    return torch.cuda.device_count() if device == 'cuda' else 2


@pytest.fixture(scope='session')
def run_ranks(device: str, all_ranks: int) -> Callable[..., str]:
    """Runs a script in processes of its own; gives what they print.

    Without ranks it is one process that knows of no others.
    """

    def run(
        script: Path | str,
        *arguments: object,
        ranks: int = all_ranks,
        timeout: float = 280,
        cwd: Path = ROOT,
    ) -> str:
        command = [sys.executable]
        if ranks:
            command += ['-m', 'torch.distributed.run', '--standalone']
            command.append(f'--nproc-per-node={ranks}')
        env = dict(
            os.environ,
            MMVHEAT_TEST_DEVICE=device,
            NVIDIA_TF32_OVERRIDE='0',  # which cuDNN would use
            PYTHONPATH=os.pathsep.join(
                [str(ROOT), os.environ.get('PYTHONPATH', '')]
            ),
        )
        if device == 'cpu':
            env['CUDA_VISIBLE_DEVICES'] = ''
        return run_process([*command, script, *arguments], timeout, cwd, env)

    return run


def run_process(
    command: list, timeout: float, cwd: Path = ROOT, env: dict | None = None
) -> str:
    """Run a command to its end, and fail with the last that it printed."""
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun then ends its ranks.
            output, _ = process.communicate()
            output += f'\nended after {timeout:.0f} s'
    last = '\n'.join(output.splitlines()[-100:])
    assert process.returncode == 0, last
    return output


@pytest.fixture(scope='session')
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the configs of configs/quickstart find their data."""
    folder = tmp_path_factory.mktemp('digits')
    make_digit_scenes(
        folder / 'data/digit_scenes',
        num_train=32,
        num_val=8,
        variants=1,
        progress=False,
    )
    return folder


@pytest.fixture(scope='session')
def train(
    run_ranks: Callable,
    digits: Path,
    all_ranks: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """Trains a config of configs/quickstart; gives its work dir."""

    def train(
        config: str,
        *cfg_options: str,
        options: list[object] = (),
        ranks: int = all_ranks,
    ) -> Path:
        work_dir = tmp_path_factory.mktemp('work_dir')
        launcher = 'pytorch' if ranks else 'none'
        run_ranks(
            ROOT / 'tools/train.py',
            ROOT / 'configs/quickstart' / config,
            *('--launcher', launcher, '--work-dir', work_dir, *options),
            '--cfg-options',
            'param_scheduler=None',
            'default_hooks.logger.interval=1',
            'default_hooks.checkpoint.max_keep_ckpts=-1',
            'train_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False',
            'val_dataloader.num_workers=0',
            'val_dataloader.persistent_workers=False',
            *cfg_options,
            ranks=ranks,
            cwd=digits,
        )
        return work_dir

    return train


@pytest.fixture(scope='session')
def few() -> list[str]:
    """Settings that take some images of every class, 144 for training."""
    return [
        f'{split}_dataloader.dataset.indices={list(range(0, count, 10))}'
        for split, count in (('train', 1438), ('val', 359))
    ]


@pytest.fixture(scope='session')
def read_scalars() -> Callable[[Path, str], list[float]]:
    """Reads what the newest run in a work dir has logged under a name."""

    def read(work_dir: Path, name: str) -> list[float]:
        path = max(work_dir.glob('*/vis_data/scalars.json'))
        records = map(json.loads, path.read_text().splitlines())
        return [record[name] for record in records if name in record]

    return read


@pytest.fixture
def measure(device: str, record_property: Callable) -> Callable[..., None]:
    """Runs the benchmark; its tables go to the report, if they shall."""

    def run(name: str, *options: object, tables: bool = True) -> None:
        left = START + 60 * MINUTES - time.time()
        if left < 60:
            pytest.skip(f'the {MINUTES:.0f} minutes are over')
        out = FOLDER / name
        tool = ROOT / 'tools/analysis_tools/benchmark'
        command = [sys.executable, tool, *options]
        command += ['--device', device, '--out-dir', out]
        try:
            run_process(command, timeout=left)
        finally:  # It writes them after each case.
            path = out / 'benchmark.md'
            if tables and path.is_file():
                record_property('table', path.read_text())

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let no test pass by plain operators where kernels were meant."""
    declined = 'error:The kernels of mmvheat.fast do not run'
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(declined))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how a test of this folder went."""
    if not is_available() or 'PYTEST_XDIST_WORKER' in os.environ:
        return
    name = report.nodeid.partition('test_gpu/')[2]
    if not name:
        return
    row = results.setdefault(
        name, dict(result='passed', seconds=0.0, reason='', properties=[])
    )
    row['seconds'] += report.duration
    row['properties'] = report.user_properties
    if report.failed:
        row.update(result='FAILED', reason=report.longreprtext)
    elif report.skipped:
        reason = getattr(report, 'wasxfail', '') or report.longrepr[2]
        row['result'] = reason.replace('Skipped', 'skipped')
    if report.when == 'teardown':
        # After every test: what breaks a GPU may end the process as well.
        FOLDER.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(dict(start=START, results=results)))
        REPORT.write_text(make_report())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> None:
    """Say where the report is."""
    if results:
        terminalreporter.write_line(f'Report: {REPORT}')


def make_report() -> str:
    """Write what is known so far, in markdown."""
    rows, tables, failures = [], [], []
    for name, row in results.items():
        errors = [v for key, v in row['properties'] if key == 'error']
        # The one that comes nearest to its bound.
        worst = max(errors, key=lambda e: e[0] / e[1], default=None)
        error = '' if worst is None else '{:.1e} of {:.0e}'.format(*worst)
        rows.append([name, row['result'], error, f'{row["seconds"]:.1f}'])
        tables += [v for key, v in row['properties'] if key == 'table']
        if row['reason']:
            failures.append(f'### {name}\n\n```\n{row["reason"]}\n```\n')
    failed = sum(row['result'] == 'FAILED' for row in results.values())
    passed = sum(row['result'] == 'passed' for row in results.values())
    minutes = (time.time() - START) / 60
    header = ['Test', 'Result', 'Relative error, of its bound', 'Seconds']
    summary = PrettyTable(header, align='l')
    summary.set_style(TableStyle.MARKDOWN)
    summary.add_rows(rows)
    parts = [
        f'# Acceptance on {DEVICE}: {failed} failed, {passed} passed, '
        f'{len(rows) - failed - passed} others, in {minutes:.1f} minutes\n',
        f'{summary}\n',
        *(table.replace('# Benchmark', '## Benchmark') for table in tables),
        *(['## Failures\n', *failures] if failures else []),
        f'## Environment\n\n```\n{describe_environment()}\n```\n',
    ]
    return '\n'.join(parts)


@functools.cache
def describe_environment() -> str:
    """Describe machine and libraries."""
    env = collect_env()
    details = env.pop('PyTorch compiling details')
    used = re.findall(r'(?:CUDA Runtime|CuDNN|CPU capability) .*', details)
    env['PyTorch built with'] = ', '.join(used)
    env['Driver'] = get_nvidia_driver_version(run_command)
    env['mmvheat'] = get_git_hash()
    return '\n'.join(f'{name}: {value}' for name, value in env.items())
