"""The summary counts every parameter once."""

from __future__ import annotations

import pytest
from torch import nn

from mmvheat.engine.hooks import run_summary_hook


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
