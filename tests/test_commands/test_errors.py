"""User errors end a command in one sentence."""

from __future__ import annotations

import errno
import runpy

import pytest
import torch
from torch import nn

from mmvheat.checkpoint import CheckpointError
from mmvheat.errors import UserError, run_main


def _fail(error: BaseException):
    def main() -> None:
        raise error

    return main


FROM_WORKER = """Caught UserError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 1, in <module>
mmvheat.errors.UserError: The image a.jpg cannot be read."""


@pytest.mark.parametrize(
    ('error', 'code', 'expected'),
    [
        (UserError('Give a path.'), 1, 'error: Give a path.'),
        (CheckpointError('a.pth is cut.'), 1, 'error: a.pth is cut.'),
        (UserError(FROM_WORKER), 1, 'error: The image a.jpg cannot be read.'),
        (KeyboardInterrupt(), 130, 'error: Interrupted by the keyboard'),
        (
            OSError(errno.ENOSPC, 'No space', 'log.json'),
            1,
            'error: The disk is full (log.json',
        ),
    ],
)
def test_sentence_and_exit_code(capsys, error, code, expected) -> None:
    with pytest.raises(SystemExit) as exit_info:
        run_main(_fail(error))
    assert exit_info.value.code == code
    message = capsys.readouterr().err
    assert message.startswith(expected)
    assert message.count('\n') == 1


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_main(_fail(ZeroDivisionError()))


def test_traceback_of_a_user_error_on_demand(monkeypatch) -> None:
    monkeypatch.setenv('MMVHEAT_TRACEBACK', '1')
    with pytest.raises(UserError):
        run_main(_fail(UserError('Give a path.')))


def test_users_module_in_a_folder_of_our_name_keeps_its_traceback(
    tmp_path,
) -> None:
    path = tmp_path / 'mmvheat' / 'my_hook.py'
    path.parent.mkdir()
    path.write_text('(lambda: 0)(typ=1)')
    with pytest.raises(TypeError, match='unexpected keyword'):
        run_main(lambda: runpy.run_path(str(path), run_name='my_hook'))


def build(fused: bool, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.AdamW(nn.Linear(2, 2).parameters(), lr, fused=fused)


def test_optimizer_that_does_not_build_is_a_sentence(capsys):
    with pytest.raises(SystemExit):
        run_main(lambda: build(False, lr=-1))
    assert 'The config does not build' in capsys.readouterr().err


def test_optimizer_that_fails_at_a_step_keeps_its_traceback():
    optimizer = build(True)
    for parameter in optimizer.param_groups[0]['params']:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.found_inf = torch.zeros(1)  # steps have no dimension
    with pytest.raises(RuntimeError, match='broadcast'):
        run_main(optimizer.step)
