"""Making a resumed run continue as if it had never stopped."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader

from mmvheat.ops import resize_freq_embed

from .reader import CheckpointError


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make a resumed run equal to one that was never interrupted.

    mmengine stores no state of random generators. This hook makes random
    numbers a function of seed, epoch and iteration instead: the generators of
    the main process are seeded before every epoch and iteration, those of the
    data workers when they start, which is at every epoch. A seeded run that
    is resumed at the end of an epoch then gives the same weights on the same
    hardware, where its operators are deterministic.

    It also lets a run resume with another FVE grid: the optimizer's moments
    are resized with the FVEs.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the generators for the data of an epoch."""
        _seed(_mix(runner, 0, runner.epoch))
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            _restart_workers(runner.train_dataloader, runner.epoch)

    def before_train_iter(self, runner: Runner, *args: Any, **kw: Any) -> None:
        """Seed the generators for the forward pass and the next data."""
        _seed(_mix(runner, 1, runner.iter))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Resize the optimizer's moments of FVEs on another grid.

        Raises:
            CheckpointError: If the optimizer's state does not fit.
        """
        if not runner._resume or 'optimizer' not in checkpoint:
            return
        if not isinstance(runner.optim_wrapper, OptimWrapper):
            return
        modes = [
            module.freq_embed_resize
            for module in runner.model.modules()
            if hasattr(module, 'freq_embed_resize')
        ]
        groups = runner.optim_wrapper.optimizer.param_groups
        adapt_optimizer_state(
            checkpoint['optimizer'],
            list(chain.from_iterable(group['params'] for group in groups)),
            mode=modes[0] if modes else 'pad',
        )


def adapt_optimizer_state(
    state: Mapping[str, Any], params: Sequence[Tensor], mode: str = 'pad'
) -> None:
    """Resize the moments of FVEs to the parameters' grids, in place.

    Args:
        state (Mapping[str, Any]): State dict of a torch optimizer.
        params (Sequence[Tensor]): The optimizer's parameters in its order.
        mode (str): ``'pad'`` or ``'bicubic'``. Defaults to 'pad'.

    Raises:
        CheckpointError: If another tensor or the number of parameters
            differs.
    """
    ids = list(chain.from_iterable(g['params'] for g in state['param_groups']))
    if len(ids) != len(params):
        raise CheckpointError(
            f'cannot resume: the checkpoint has optimizer state for '
            f'{len(ids)} parameters, but the model trains {len(params)}; '
            'start from its weights alone with load_from'
        )
    for index, param in zip(ids, params):
        moments = state['state'].get(index, {})
        for name, value in moments.items():
            # An FVE is (H, W, C); Adam's step is a scalar.
            if not isinstance(value, Tensor) or value.dim() == 0:
                continue
            if value.shape == param.shape:
                continue
            if value.dim() != 3 or value.shape[2:] != param.shape[2:]:
                raise CheckpointError(
                    f'cannot resume: {name} of the optimizer has the shape '
                    f'{tuple(value.shape)}, but the parameter '
                    f'{tuple(param.shape)}; start from the weights alone '
                    'with load_from'
                )
            resized = resize_freq_embed(value, tuple(param.shape[:2]), mode)
            # Interpolation must not make a second moment negative.
            positive = bool((value >= 0).all())
            moments[name] = resized.clamp_min(0) if positive else resized


class _SeedWorker:
    """Start a data worker with random numbers of its own in each epoch."""

    def __init__(self, init: Callable | None, epoch: int) -> None:
        self.init = init
        self.epoch = epoch

    def __call__(self, worker_id: int) -> None:
        if self.init is not None:
            self.init(worker_id)
        _seed((torch.initial_seed() + 1_000_003 * self.epoch) % 2**32)


def _restart_workers(loader: DataLoader, epoch: int) -> None:
    # Workers that outlive an epoch would carry random states that a resumed
    # run cannot know.
    init = loader.worker_init_fn
    if isinstance(init, _SeedWorker):
        init = init.init
    loader.worker_init_fn = _SeedWorker(init, epoch)
    loader._iterator = None


def _mix(runner: Runner, stream: int, step: int) -> int:
    rank = get_rank() if runner._randomness_cfg.get('diff_rank_seed') else 0
    words = [runner.seed or 0, rank, stream, step]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
