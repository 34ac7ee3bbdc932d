"""SIGTERM is taken over while a model trains, and only then."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from mmvheat.engine.hooks import SaveOnSignalHook


@pytest.fixture
def runner(tmp_path) -> SimpleNamespace:
    """What the hook asks a runner for."""
    loop = SimpleNamespace(dataloader=None)
    return SimpleNamespace(
        train_loop=loop, val_loop=None, iter=0, work_dir=str(tmp_path)
    )


def test_a_test_is_stopped_as_without_the_hook(runner) -> None:
    hook, before = SaveOnSignalHook(), signal.getsignal(signal.SIGTERM)
    hook.before_run(runner)
    hook.before_test(runner)
    assert signal.getsignal(signal.SIGTERM) == before
    hook.before_train(runner)
    assert signal.getsignal(signal.SIGTERM) == hook._on_signal
    hook.after_train(runner)
    assert signal.getsignal(signal.SIGTERM) == before


def test_accumulated_gradients_are_waited_for(runner, monkeypatch) -> None:
    hook, saved = SaveOnSignalHook(), []
    runner.optim_wrapper = SimpleNamespace(_accumulative_counts=3)
    monkeypatch.setattr(
        hook, '_save_and_exit', lambda runner: saved.append(runner.iter)
    )
    for runner.iter in range(7):
        hook.requested = runner.iter >= 3
        hook.after_train_iter(runner)
    assert saved == [5]
