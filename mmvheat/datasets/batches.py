"""Batches that can be taken up where a run was interrupted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from mmengine.dist import get_rank
from torch.utils.data import BatchSampler, DataLoader, get_worker_info

_DATA, _MODEL = range(2)  # streams of random numbers


def seed_model(seed: int, iteration: int) -> None:
    """Seed the generators for the forward pass of an iteration."""
    _seed(seed, get_rank(), _MODEL, iteration)


class ResumableBatches:
    """The batches of a data loader, each with random numbers of its own.

    It takes the place of the batch sampler, of the function that collates
    and of the one that starts workers.

    Args:
        loader (DataLoader): The loader, changed in place.
        seed (int): The seed of the run.
        skip (int): Batches to leave out of the next pass.
        length (int, optional): Batches in an epoch; None if there is one
            endless epoch.
    """

    def __init__(
        self, loader: DataLoader, seed: int, skip: int, length: int | None
    ) -> None:
        self.batch_sampler: BatchSampler = loader.batch_sampler
        self.collate = loader.collate_fn
        self.init: Callable | None = loader.worker_init_fn
        self.words = (seed or 0, get_rank())
        self.skip = skip
        self.length = length
        self.number = 0  # of the next batch, counted like iterations
        self.in_main_process = loader.num_workers == 0
        # A DataLoader forbids to set this attribute, but reads it every pass.
        loader.__dict__['batch_sampler'] = self
        loader.collate_fn = self.collate_batch
        loader.worker_init_fn = self.start_worker
        # Persistent workers would go on with what they started with.
        loader._iterator = None

    def __iter__(self) -> Iterator[list[int]]:
        # A loader with workers makes two iterators and uses the second, so
        # what counts is the first batch taken.
        skip, self.skip = self.skip, 0
        number = self.number
        for batch in islice(self.batch_sampler, skip, None):
            if self.in_main_process:
                _seed(*self.words, _DATA, number)
            yield batch
            number += 1

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __getattr__(self, name: str) -> object:
        if name == 'batch_sampler':  # not there yet: unpickled in a worker
            raise AttributeError(name)
        return getattr(self.batch_sampler, name)

    def start_worker(self, worker_id: int) -> None:
        """Seed the first batch of a data worker."""
        if self.init is not None:
            self.init(worker_id)
        self._seed_next(self.number, worker_id, worker_id)

    def collate_batch(self, samples: list) -> object:
        """Collate a batch and, in a data worker, seed its next one."""
        batch = self.collate(samples)
        worker = get_worker_info()
        if worker is not None:
            self._seed_next(self.number, worker.num_workers, worker.id)
        return batch

    def _seed_next(self, number: int, step: int, worker_id: int) -> None:
        # Batches go to the workers in turn, from the first in each epoch.
        self.number = number + step
        if self.length and self.number // self.length > number // self.length:
            end = (number // self.length + 1) * self.length
            self.number = end + worker_id
        _seed(*self.words, _DATA, self.number)


class LateIterator:
    """An endless iterator that stands where the loop moves it.

    Args:
        loader (DataLoader): A loader whose sampler skips the past.
        steps (int): The calls by which the loop skips the past.
    """

    def __init__(self, loader: DataLoader, steps: int) -> None:
        self.loader = loader
        self.steps = steps
        self.iterator: Iterator | None = None

    def __next__(self) -> dict | list | None:
        if self.steps:
            self.steps -= 1
            return None
        if self.iterator is None:  # workers start after all hooks were asked
            from mmengine.runner.loops import _InfiniteDataloaderIterator

            self.iterator = _InfiniteDataloaderIterator(self.loader)
        return next(self.iterator)


def _seed(*words: int) -> None:
    value = int(np.random.SeedSequence(words).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
