"""Skipped batches are not loaded."""

from __future__ import annotations

import pytest
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader, Dataset

from mmvheat.engine.hooks.resume_data_hook import skip_batches


class Numbers(Dataset):
    """The numbers below 10, and which of them were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        self.read.append(index)
        return index


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('skip', [0, 2, 4])
def test_first_pass_begins_behind_what_is_skipped(skip, workers) -> None:
    data = Numbers()
    loader = DataLoader(
        data,
        batch_size=3,
        sampler=DefaultSampler(data, shuffle=True, seed=1),
        collate_fn=list,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    loader.sampler.set_epoch(5)
    whole = list(loader)
    data.read.clear()
    skip_batches(loader, skip)
    loader.sampler.set_epoch(5)
    assert list(loader) == whole[skip:]
    if not workers:
        assert data.read == [n for batch in whole[skip:] for n in batch]
    assert list(loader) == whole
    assert len(loader) == 4
