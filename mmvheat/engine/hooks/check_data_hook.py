"""Check data before training, and name the file that cannot be read."""

from __future__ import annotations

from collections.abc import Callable

from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmvheat.datasets.checks import (
    base_datasets,
    check_dataset,
    unreadable_file,
)
from mmvheat.errors import UserError, is_local_main


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Check that data and model fit before the first iteration.

    A transform that fails on an unreadable file then names the file.
    """

    def before_run(self, runner: Runner) -> None:
        """Check the data sets of all loops, see :func:`check_dataset`.

        Raises:
            UserError: Annotations, files and model do not fit.
        """
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            loader = getattr(loop, 'dataloader', None)
            if not isinstance(loader, DataLoader):
                continue  # a config that this run does not use
            dataset = loader.dataset
            if is_local_main():
                check_dataset(dataset, runner.cfg)
            for base in base_datasets(dataset):
                if isinstance(base, BaseDataset):
                    base.pipeline = PipelineNamingFiles(base.pipeline)


class PipelineNamingFiles:
    """A transform pipeline that says which file it failed on.

    Args:
        pipeline (Callable): The pipeline to run.
    """

    def __init__(self, pipeline: Callable) -> None:
        self.pipeline = pipeline
        self.transforms = getattr(pipeline, 'transforms', [])

    def __call__(self, data: dict) -> dict | None:
        keys = ('img_path', 'seg_map_path', 'lq_path')
        paths = [data[key] for key in keys if data.get(key)]
        try:
            return self.pipeline(data)
        except UserError:
            raise  # it says all
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
