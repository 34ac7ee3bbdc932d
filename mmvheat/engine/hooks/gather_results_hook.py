"""Gather the results of a distributed test on the main process."""

from __future__ import annotations

import os
import os.path as osp
import uuid

import torch
from mmengine.device import get_device
from mmengine.dist import (
    all_reduce,
    barrier,
    broadcast_object_list,
    is_distributed,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.runner.loops import BaseLoop


@HOOKS.register_module()
class GatherResultsHook(Hook):
    """Gather test results through the work dir, or else over the network.

    By default mmengine gathers them through files below the current folder,
    which must be writable and the same for all processes. Here the files are
    below the work dir; where processes do not share it, every process
    receives all results through the memory of its device
    (``collect_device='gpu'``, which gloo does on CPU). A metric whose config
    sets ``collect_device='gpu'`` or ``collect_dir`` keeps its way.
    """

    def before_run(self, runner: Runner) -> None:
        """Choose the way of every metric."""
        if not is_distributed():
            return
        metrics = [
            metric
            for loop in (runner._val_loop, runner._test_loop)
            if isinstance(loop, BaseLoop)
            for metric in loop.evaluator.metrics
            if metric.collect_device == 'cpu' and metric.collect_dir is None
        ]
        folder = osp.join(osp.abspath(runner.work_dir), '.gather')
        shared = _is_shared(folder)
        for number, metric in enumerate(metrics):
            if shared:
                metric.collect_dir = osp.join(folder, str(number))
            else:
                metric.collect_device = 'gpu'


def _is_shared(folder: str) -> bool:
    """Whether every process sees what the main process writes there."""
    name = [uuid.uuid4().hex]
    broadcast_object_list(name)
    token = osp.join(folder, name[0])
    if is_main_process():
        os.makedirs(token)
    barrier()
    seen = torch.tensor(int(osp.isdir(token)), device=get_device())
    all_reduce(seen, 'min')
    if is_main_process():
        os.rmdir(token)
    return bool(seen)
