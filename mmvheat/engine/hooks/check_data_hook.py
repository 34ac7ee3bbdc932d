"""Check data before training, and name the file that cannot be read."""

from __future__ import annotations

from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmvheat.datasets.checks import base_datasets, check_dataset
from mmvheat.datasets.pipelines import PipelineNamingFiles
from mmvheat.errors import is_local_main


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
