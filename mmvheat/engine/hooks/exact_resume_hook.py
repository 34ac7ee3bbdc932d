"""Make a resumed run equal to one that was never interrupted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import chain, islice

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader, get_worker_info

from mmvheat.checkpoint import adapt_optimizer_state

_DATA, _MODEL = range(2)  # streams of random numbers


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make a resumed run equal to one that was never interrupted.

    mmengine starts an interrupted epoch again, reads every image of the past
    once more in iteration-based training, and stores no state of random
    generators. Here the sampler gets its old seed and drops the batches that
    are done, and random numbers become a function of seed, process and
    iteration: those of the model are seeded before every iteration, those of
    the data before every batch, also in the data workers. A seeded run that
    is resumed anywhere then gives the same weights on the same hardware and
    number of processes and data workers, where its operators are
    deterministic.

    It also lets a run resume with another FVE grid: the optimizer's moments
    are resized with the FVEs.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.images_done = 0
        self.batches: ResumableBatches | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note how much of the current epoch is done."""
        if self.batches is None or _is_iter_based(runner):
            return
        meta = checkpoint['meta']
        length = len(runner.train_dataloader)
        done = meta['iter'] - meta['epoch'] * length
        if 0 < done <= length:
            meta['epoch_images_done'] = done * _images_per_batch(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read how much was done; resize the moments of FVEs.

        Raises:
            CheckpointError: The optimizer's state does not fit.
        """
        meta = checkpoint.get('meta') or {}
        self.images_done = meta.get('epoch_images_done', 0)
        wrapper = getattr(runner, 'optim_wrapper', None)
        if (
            not isinstance(runner, Runner)  # state of the optimizer is sharded
            or not runner._resume
            or 'optimizer' not in checkpoint
            or not isinstance(wrapper, OptimWrapper)
        ):
            return
        modes = [
            module.freq_embed_resize
            for module in runner.model.modules()
            if hasattr(module, 'freq_embed_resize')
        ]
        groups = wrapper.optimizer.param_groups
        adapt_optimizer_state(
            checkpoint['optimizer'],
            list(chain.from_iterable(group['params'] for group in groups)),
            mode=modes[0] if modes else 'pad',
        )

    def before_train(self, runner: Runner) -> None:
        """Put the data loader where the checkpoint was made."""
        loop = runner.train_loop
        loader = loop.dataloader
        if not isinstance(loader, DataLoader):
            return  # a loop of the user's own over several loaders
        sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
        by_epoch = not _is_iter_based(runner)
        diff_rank_seed = runner.cfg.get('randomness', {}).get('diff_rank_seed')
        if loop.iter and not diff_rank_seed:
            sampler.seed = runner.seed
        skip = 0
        if by_epoch:
            if loop.iter:
                skip = self.images_done // _images_per_batch(runner)
        elif hasattr(sampler, 'indices'):
            # The shuffle of InfiniteSampler starts with its creation, and
            # the iterator that the loop has made has taken some.
            sampler.indices = sampler._indices_of_rank()
            skip = loop.iter
        length = len(loader) if by_epoch else None
        self.batches = ResumableBatches(loader, runner.seed, skip, length)
        if not by_epoch:
            self.batches.number = skip
            loop.dataloader_iterator = _LateIterator(loader, skip)

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the data which batch comes first."""
        if self.batches is not None and not _is_iter_based(runner):
            self.batches.number = runner.iter

    def before_train_iter(
        self, runner: Runner, *args: object, **kwargs: object
    ) -> None:
        """Seed the generators for the forward pass."""
        _seed(runner.seed or 0, get_rank(), _MODEL, runner.iter)


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


class _LateIterator:
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


def _is_iter_based(runner: Runner) -> bool:
    return isinstance(runner.train_loop, IterBasedTrainLoop)


def _images_per_batch(runner: Runner) -> int:
    loader = runner.train_dataloader
    return get_world_size() * loader.batch_sampler.batch_size


def _seed(*words: int) -> None:
    value = int(np.random.SeedSequence(words).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
