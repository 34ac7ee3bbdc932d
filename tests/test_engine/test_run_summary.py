"""The summary counts every parameter once."""

from __future__ import annotations

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmvheat.engine.hooks import (
    ExactResumeHook,
    RunSummaryHook,
    run_summary_hook,
)


class Shard(nn.Module):
    """Half of a model, named as FSDP names it."""

    def __init__(self) -> None:
        super().__init__()
        self._fsdp_wrapped_module = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ('model', 'expected'),
    [(nn.Linear(2, 2), [6, 6, 24]), (Shard(), [12, 12, 48])],
)
def test_shards_are_added_and_replicas_are_not(
    model, expected, monkeypatch
) -> None:
    # As if there were two processes.
    monkeypatch.setattr(run_summary_hook, 'all_reduce', lambda x: x.mul_(2))
    assert run_summary_hook._count_parameters(model) == expected


class Model(BaseModel):
    """Has two parts, each with an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, inputs: torch.Tensor, mode: str) -> dict:
        return dict(loss=self.right(self.left(inputs)).sum())

    def train_step(
        self, data: object, optim_wrapper: OptimWrapperDict
    ) -> dict:
        loss = self(data, 'loss')['loss']
        loss.backward()
        for wrapper in optim_wrapper.values():
            wrapper.step()
            wrapper.zero_grad()
        return dict(loss=loss.detach())


def make_runner(work_dir: str, **kwargs) -> Runner:
    torch.manual_seed(0)
    model = Model()
    wrappers = {
        name: OptimWrapper(torch.optim.Adam(getattr(model, name).parameters()))
        for name in ('left', 'right')
    }
    return Runner(
        model,
        work_dir,
        train_dataloader=DataLoader(torch.ones(4, 2), batch_size=2),
        optim_wrapper=OptimWrapperDict(**wrappers),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        custom_hooks=[RunSummaryHook(), ExactResumeHook()],
        experiment_name=str(work_dir).replace('/', '_'),
        **kwargs,
    )


def test_a_runner_of_python_with_two_optimizers(tmp_path) -> None:
    whole = make_runner(str(tmp_path / 'whole'))
    whole.train()
    (log,) = (tmp_path / 'whole').rglob('*.log')
    text = log.read_text()
    assert 'lr          of left, right' in text
    assert '4 images, 2 epochs of 2 iterations' in text
    assert 'batch       2 = 1 x 2' in text
    first = str(tmp_path / 'whole/epoch_1.pth')
    resumed = make_runner(
        str(tmp_path / 'resumed'), resume=True, load_from=first
    )
    resumed.train()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)
