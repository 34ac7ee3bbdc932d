"""Make a resumed run equal to one that was never interrupted."""

from __future__ import annotations

from itertools import chain

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmvheat.checkpoint import adapt_optimizer_state
from mmvheat.datasets.batches import (
    LateIterator,
    ResumableBatches,
    seed_model,
)


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
            or isinstance(wrapper, OptimWrapperDict)
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
        if not isinstance(loader, DataLoader) or loader.batch_sampler is None:
            return  # a loop of the user's own over several loaders or samples
        steps = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if loop.iter % steps:
            runner.logger.warning(
                f'The checkpoint of iteration {loop.iter} lacks the gradients '
                f'that it had accumulated: a step takes {steps} iterations.'
            )
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
            loop.dataloader_iterator = LateIterator(loader, skip)

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the data which batch comes first."""
        if self.batches is not None and not _is_iter_based(runner):
            self.batches.number = runner.iter

    def before_train_iter(
        self, runner: Runner, *args: object, **kwargs: object
    ) -> None:
        """Seed the generators for the forward pass."""
        seed_model(runner.seed or 0, runner.iter)


def _is_iter_based(runner: Runner) -> bool:
    return isinstance(runner.train_loop, IterBasedTrainLoop)


def _images_per_batch(runner: Runner) -> int:
    loader = runner.train_dataloader
    return get_world_size() * loader.batch_sampler.batch_size
