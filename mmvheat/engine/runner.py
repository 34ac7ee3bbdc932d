"""Runners whose data is checked and whose data errors name the file."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from mmengine.runner import FlexibleRunner, Runner
from torch.utils.data import DataLoader

from .checks import base_datasets, check_dataset, unreadable_file
from .errors import UserError, is_local_main
from .sharding import ShardedStrategy

# What building from a wrong config raises.
_FAULTS = (KeyError, TypeError, ValueError, AssertionError)


class PipelineNamingFiles:
    """A transform pipeline that says which file it failed on.

    Args:
        pipeline (Callable): The pipeline to run.
    """

    def __init__(self, pipeline: Callable) -> None:
        self.pipeline = pipeline
        self.transforms = getattr(pipeline, 'transforms', [])

    def __call__(self, data: dict) -> dict | None:
        paths = [data.get('img_path'), data.get('seg_map_path')]
        paths = [path for path in paths if path]
        try:
            return self.pipeline(data)
        except Exception as error:
            bad = unreadable_file(paths)
            if bad is None:
                if hasattr(error, 'add_note'):  # Python 3.11
                    error.add_note(f'while transforming {paths}')
                raise
            raise UserError(
                f'The image file {bad} cannot be read (empty, damaged or '
                'missing); repair it or remove it from the annotations, '
                'then continue with --resume.'
            ) from error


class WorkerInit:
    """Start a data worker that outlives a SIGTERM sent to the whole job.

    The main process needs its workers to finish the iteration and save.

    Args:
        init (Callable, optional): The worker init function to run first.
    """

    def __init__(self, init: Callable | None) -> None:
        self.init = init

    def __call__(self, worker_id: int) -> None:
        if hasattr(signal, 'sigwaitinfo'):  # not on macOS
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=_obey_parent_alone, daemon=True).start()
        if self.init is not None:
            self.init(worker_id)


def _obey_parent_alone() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


class _CheckedData:
    """Mixin: data loaders of checked data sets."""

    def build_dataloader(
        self, dataloader: DataLoader | dict, *args, **kwargs
    ) -> DataLoader:
        if isinstance(dataloader, DataLoader):
            return dataloader
        try:
            loader = super().build_dataloader(dataloader, *args, **kwargs)
        except (OSError, *_FAULTS) as error:
            dataset = dataloader['dataset']
            source = dataset.get('ann_file') or dataset.get('data_root')
            reason = ' '.join(str(error).split())
            if reason == 'need at least one array to concatenate':
                reason = 'No usable image is left, see also filter_cfg.'
            raise UserError(
                f'The data set {dataset.get("type")} of {source} could not '
                f'be built: {type(error).__name__}: {reason}'
            ) from error
        if is_local_main():
            check_dataset(loader.dataset, self.cfg)
        for dataset in base_datasets(loader.dataset):
            if isinstance(dataset, BaseDataset):
                dataset.pipeline = PipelineNamingFiles(dataset.pipeline)
        loader.worker_init_fn = WorkerInit(loader.worker_init_fn)
        return loader


class CheckedRunner(_CheckedData, Runner):
    """mmengine's ``Runner`` with checked data sets."""

    def build_optim_wrapper(self, optim_wrapper: dict) -> OptimWrapper:
        with _explain_config('optim_wrapper'):
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: dict | list) -> list | dict:
        with _explain_config('param_scheduler'):
            return super().build_param_scheduler(scheduler)


class CheckedFlexibleRunner(_CheckedData, FlexibleRunner):
    """mmengine's ``FlexibleRunner`` (sharded training), checked alike."""


def build_runner(cfg: Config) -> CheckedRunner | CheckedFlexibleRunner:
    """Build the runner that ``cfg.runner_type`` asks for.

    Args:
        cfg (Config): A whole config.

    Returns:
        CheckedRunner | CheckedFlexibleRunner: The runner.

    Raises:
        UserError: A type or an argument in the config is not known.
    """
    kind = cfg.get('runner_type', 'Runner')
    runners = dict(Runner=CheckedRunner, FlexibleRunner=CheckedFlexibleRunner)
    if kind not in runners:
        raise UserError(
            f'runner_type={kind!r} is not known; use one of '
            f'{", ".join(runners)}.'
        )
    with _explain_config(cfg.filename):
        return runners[kind].from_cfg(cfg)


@contextmanager
def _explain_config(part: str) -> Iterator[None]:
    """Say of what nothing can be built, and why."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        reason = ' '.join(str(error).split())
        raise UserError(
            f'The config {part} does not build: {type(error).__name__}: '
            f'{reason}'
        ) from error


def save_atomically(runner: Runner | FlexibleRunner) -> None:
    """Let the checkpoint hook of ``runner`` write through ``AtomicBackend``.

    A hook that already names another storage keeps it, and strategies that
    write checkpoints in their own way do so.

    Args:
        runner (Runner | FlexibleRunner): The runner to change.
    """
    strategy = getattr(runner, 'strategy', None)
    if strategy is not None and not isinstance(strategy, ShardedStrategy):
        return
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.backend_args is None:
            hook.backend_args = dict(backend='atomic')
