"""A loader that skips the past gives what it would have given."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader, Dataset

from mmvheat.datasets.batches import ResumableBatches


class Noise(Dataset):
    """Its index and three random numbers per item, and what was read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple:
        self.read.append(index)
        return index, random.random(), np.random.rand(), float(torch.rand(()))


def make_loader(workers: int, persistent: bool = True) -> DataLoader:
    data = Noise()
    return DataLoader(
        data,
        batch_size=3,
        sampler=DefaultSampler(data, shuffle=True, seed=1),
        collate_fn=list,
        num_workers=workers,
        persistent_workers=persistent and workers > 0,
    )


def draw(loader, epochs, skip=0) -> list:
    """The batches of epochs, from one in the midst of the first."""
    length = len(loader)
    batches = ResumableBatches(loader, 7, skip, length)
    drawn = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        batches.number = epoch * length + (skip if epoch == epochs[0] else 0)
        torch.manual_seed(epoch)  # as a model would use its own numbers
        drawn += list(loader)
    return drawn


@pytest.mark.parametrize('workers', [0, 1, 2])
@pytest.mark.parametrize('skip', [0, 2, 3])
def test_resumed_data_have_the_order_and_noise_of_the_whole(
    skip, workers
) -> None:
    whole = draw(make_loader(workers), range(3))
    assert len(whole) == 12
    items = [item for batch in whole for item in batch]
    for numbers in zip(*(item[1:] for item in items)):
        assert len(set(numbers)) == len(items)  # no two alike

    loader = make_loader(workers)
    resumed = draw(loader, range(1, 3), skip)
    assert resumed == whole[4 + skip :]
    if not workers:  # what was skipped is not loaded
        assert loader.dataset.read == [i for b in resumed for i, *_ in b]
    assert len(loader) == 4


def test_workers_that_end_with_an_epoch_draw_alike() -> None:
    persistent, mortal = (
        draw(make_loader(2, persistent), range(3))
        for persistent in (True, False)
    )
    assert persistent == mortal


def test_loader_without_a_past_gives_its_samplers_batches() -> None:
    loader = make_loader(0)
    loader.sampler.set_epoch(5)
    expected = [[item[0] for item in batch] for batch in loader]
    drawn = draw(make_loader(0), [5])
    assert [[item[0] for item in batch] for batch in drawn] == expected


def test_spawned_workers_can_receive_it() -> None:
    batches = ResumableBatches(make_loader(0), 7, 2, 4)
    again = pickle.loads(pickle.dumps(batches.start_worker)).__self__
    assert again.batch_size == 3
    assert again.skip == 2
