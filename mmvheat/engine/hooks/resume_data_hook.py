"""Continue the data of an interrupted run where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import BatchSampler, DataLoader


@HOOKS.register_module()
class ResumeDataHook(Hook):
    """Skip what the interrupted run has seen, without loading it.

    mmengine starts an interrupted epoch again, and in iteration-based
    training reads every image of the past once more to skip it. Here the
    sampler gets its old seed and drops the batches that are done.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.images_done = 0

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note how much of the current epoch is done."""
        meta = checkpoint['meta']
        length = len(runner.train_dataloader)
        done = meta['iter'] - meta['epoch'] * length
        if not _is_iter_based(runner) and 0 < done <= length:
            meta['epoch_images_done'] = done * _images_per_batch(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read how much of the current epoch was done."""
        meta = checkpoint.get('meta') or {}
        self.images_done = meta.get('epoch_images_done', 0)

    def before_train(self, runner: Runner) -> None:
        """Put the data loader where the checkpoint was made."""
        loop = runner.train_loop
        if not loop.iter:
            return
        loader = loop.dataloader
        sampler = loader.batch_sampler.sampler
        if not runner.cfg.get('randomness', {}).get('diff_rank_seed'):
            sampler.seed = runner.seed
        if _is_iter_based(runner):
            if hasattr(sampler, 'indices'):
                # The shuffle of InfiniteSampler starts with its creation.
                sampler.indices = sampler._indices_of_rank()
                skip_batches(loader, loop.iter)
                loop.dataloader_iterator = _AdvancedIterator(loader, loop.iter)
        else:
            done = self.images_done // _images_per_batch(runner)
            skip_batches(loader, done)


class SkippingBatchSampler:
    """A batch sampler that leaves out its first batches, once.

    Args:
        batch_sampler (BatchSampler): The whole batch sampler.
        skip (int): Batches to leave out of the next pass.
    """

    def __init__(self, batch_sampler: BatchSampler, skip: int) -> None:
        self.batch_sampler = batch_sampler
        self.skip = skip

    def __iter__(self) -> Iterator[list[int]]:
        # A loader with workers makes two iterators and uses the second, so
        # what counts is the first batch taken.
        skip, self.skip = self.skip, 0
        yield from islice(self.batch_sampler, skip, None)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __getattr__(self, name: str) -> object:
        return getattr(self.__dict__['batch_sampler'], name)


def skip_batches(loader: DataLoader, skip: int) -> None:
    """Let the next pass over ``loader`` begin after ``skip`` batches."""
    # A DataLoader forbids to set this attribute, but reads it every pass.
    loader.__dict__['batch_sampler'] = SkippingBatchSampler(
        loader.batch_sampler, skip
    )
    # Persistent workers would go on with the sampler they started with.
    loader._iterator = None


class _AdvancedIterator(_InfiniteDataloaderIterator):
    """An endless iterator that already stands where the loop moves it.

    Args:
        loader (DataLoader): A loader whose sampler skips the past.
        steps (int): The calls by which the loop skips the past.
    """

    def __init__(self, loader: DataLoader, steps: int) -> None:
        super().__init__(loader)
        self.steps = steps

    def __next__(self) -> dict | list | None:
        if self.steps:
            self.steps -= 1
            return None
        return super().__next__()


def _is_iter_based(runner: Runner) -> bool:
    return isinstance(runner.train_loop, IterBasedTrainLoop)


def _images_per_batch(runner: Runner) -> int:
    loader = runner.train_dataloader
    return get_world_size() * loader.batch_sampler.batch_size
