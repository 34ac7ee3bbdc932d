"""Steps: what runs when, what is shown of it, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmvheat.commands.steps import Step, run_all, run_step

SCRIPTS = {
    'good.py': 'print("fine")',
    'bad.py': 'raise SystemExit("why")',
    'talk.py': 'print(*range(999), sep="\\n")',
    'meet.py': """
import sys, time
from pathlib import Path
import torch
print(torch.get_num_threads(), time.time())
name = sys.argv[1]
Path(name).touch()
other = Path(dict(a='b', b='a').get(name, name))
for _ in range(40):
    if not other.exists():
        time.sleep(0.25)
print(time.time() if other.exists() else 0)
""",
    'stay.py': """
import os, time
from pathlib import Path
Path('pid').write_text(str(os.getpid()))
print('here', flush=True)
time.sleep(99)
""",
    'train.py': """
import time
for left in (9, 4):
    print(f'INFO - Epoch(train) [1]eta: 0:00:0{left} x', flush=True)
    time.sleep(1.2)
""",
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with scripts."""
    (tmp_path / 'work/logs').mkdir(parents=True)
    for name, script in SCRIPTS.items():
        (tmp_path / name).write_text(script)
    return tmp_path


def test_a_failing_step_ends_the_run_with_its_last_words(folder):
    steps = [
        Step(name, [f'{name}.py'], 1) for name in ('good', 'bad', 'never')
    ]
    with pytest.raises(SystemExit) as ended:
        run_all(steps, folder, 'work')
    message = str(ended.value)
    assert 'why' in message
    assert '"bad" failed with exit code 1' in message
    assert 'work/logs/02_bad.log' in message
    logs = sorted((folder / 'work/logs').iterdir())
    assert [log.name for log in logs] == ['01_good.log', '02_bad.log']
    assert logs[0].read_text() == 'fine\n'


def test_lanes_run_side_by_side_with_a_thread_each(folder, capsys):
    lanes = dict(first='', a='a', b='b', a2='a', last='')
    steps = [
        Step(name, ['meet.py', name], 1, lane) for name, lane in lanes.items()
    ]
    seconds = run_all(steps, folder, 'work')
    assert list(seconds) == ['first', 'a', 'b', 'a2', 'last']
    times, threads = {}, {}
    for number, name in enumerate(lanes, 1):
        log = folder / f'work/logs/{number:02d}_{name}.log'
        threads[name], *times[name] = map(float, log.read_text().split())
    assert set(threads.values()) == {1}
    assert times['first'][1] < min(times['a'][0], times['b'][0])
    assert max(times['a'][0], times['b'][0]) < times['a'][1]  # b was met
    assert times['a'][1] < times['a2'][0] < times['a2'][1]
    assert max(times['a2'][1], times['b'][1]) < times['last'][0]
    output = capsys.readouterr().out
    assert '[4/5] python meet.py a2' in output
    assert '[4/5] took' in output


def test_a_failing_lane_ends_the_other(folder):
    steps = [
        Step('wait', ['train.py'], 1, 'a'),
        Step('bad', ['bad.py'], 1, 'b'),
        Step('never', ['good.py'], 1, 'a'),
    ]
    with pytest.raises(SystemExit, match='"bad" failed'):
        run_all(steps, folder, 'work')
    log = folder / 'work/logs' / '01_wait.log'
    assert '00:04' not in log.read_text()
    assert not (log.parent / '03_never.log').exists()


@pytest.mark.parametrize('is_terminal', [False, True])
def test_console_shows_steps_and_nothing_that_they_print(
    folder, monkeypatch, capsys, is_terminal
) -> None:
    monkeypatch.setenv('TTY_COMPATIBLE', str(int(is_terminal)))
    step = Step('talk', ['talk.py', '--loud'], 1)
    steps = [step, step._replace(name='again')]
    run_all(steps, folder, 'work')
    output = capsys.readouterr().out
    assert '[2/2] python talk.py --loud' in output
    assert ('100%' in output) == is_terminal
    assert '\n998' not in output
    assert output.count('\n') <= 6


def test_progress_is_read_from_the_log(folder):
    step = Step('', ['train.py'], 1)
    shares = list(run_step(step, folder, 'work/logs/log.log'))
    assert shares == sorted(shares)
    assert 0 < shares[-1] < 0.5  # 4 seconds were left after 2


def test_an_interruption_leaves_no_process(folder):
    log = folder / 'work/logs/log.log'
    step = Step('stay', ['stay.py'], 1)
    shares = run_step(step, folder, 'work/logs/log.log')
    next(shares)
    while 'here' not in log.read_text():
        next(shares)
    process = Path('/proc') / (folder / 'pid').read_text()
    assert process.exists()
    shares.close()  # what KeyboardInterrupt does to it
    assert not process.exists()
