"""KSpectrumHook gives what every block keeps to the visualizer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import HOOKS
from mmengine.visualization import Visualizer
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

import mmvheat.engine  # noqa: F401
from mmvheat.visualization import style


@pytest.fixture
def runner(build, tmp_path, monkeypatch):
    """What the hook needs of a runner, with one k for all frequencies."""
    monkeypatch.setattr(style, '_LAYOUT', None)  # it takes seconds
    model = torch.nn.ModuleDict(dict(backbone=build('pre_norm')))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'freq_embed' in name:
                parameter.zero_()
            elif name.endswith('to_k.0.bias'):
                parameter.fill_(0.7)
    visualizer = Visualizer(
        vis_backends=[dict(type='TensorboardVisBackend')],
        save_dir=str(tmp_path),
    )
    yield SimpleNamespace(model=model, visualizer=visualizer, epoch=0, iter=0)
    visualizer.close()


def read(runner, tmp_path) -> EventAccumulator:
    runner.visualizer.close()
    (file,) = tmp_path.rglob('events.out*')
    return EventAccumulator(str(file)).Reload()


def test_tensorboard_gets_spectra_every_second_epoch(runner, tmp_path):
    hook = HOOKS.build(dict(type='KSpectrumHook', interval=2, img_size=96))
    hook.before_train(runner)
    for runner.epoch in range(4):
        hook.after_train_iter(runner, 0)
        hook.after_train_epoch(runner)
    log = read(runner, tmp_path)
    names = log.Tags()['scalars']
    assert len(names) == 3 * 5  # blocks
    points = log.Scalars('k_spectrum/stage2_block2/mean_k')
    assert [point.step for point in points] == [2, 4]
    assert points[0].value == pytest.approx(0.7)
    w = np.arange(24) * np.pi / 24  # 96 pixels, stage 1
    energy = np.exp(-2 * 0.7 * (w[:, None] ** 2 + w**2)).ravel()[1:]
    found = log.Scalars('k_spectrum/stage1_block1/energy')[0].value
    assert found == pytest.approx(energy.mean(), rel=1e-4)
    assert log.Tags()['images'] == ['k_spectrum']


def test_intervals_of_iterations(runner, tmp_path):
    hook = HOOKS.build(dict(type='KSpectrumHook', interval=3, by_epoch=False))
    hook.before_train(runner)
    for runner.iter in range(6):
        hook.after_train_iter(runner, 0)
    hook.after_train_epoch(runner)
    log = read(runner, tmp_path)
    points = log.Scalars('k_spectrum/stage4_block1/half_decay_cells')
    assert [point.step for point in points] == [3, 6]


def test_no_vheat_and_no_interval_are_refused():
    hook = HOOKS.build(dict(type='KSpectrumHook'))
    with pytest.raises(ValueError, match="'vHeat', but the model"):
        hook.before_train(SimpleNamespace(model=torch.nn.Linear(1, 1)))
    with pytest.raises(ValueError, match='at least 1, but got 0'):
        HOOKS.build(dict(type='KSpectrumHook', interval=0))


def test_another_law_is_refused_before_the_training(runner):
    hook = HOOKS.build(dict(type='KSpectrumHook'))
    op = runner.model.backbone.layers[0][0].op
    op.propagator = torch.nn.Identity()
    with pytest.raises(ValueError, match='by Identity, not by heat'):
        hook.before_train(runner)
