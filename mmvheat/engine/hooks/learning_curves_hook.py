"""Draw the learning curves of a run when it ends."""

from __future__ import annotations

import os.path as osp

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class LearningCurvesHook(Hook):
    """Leave losses and validation metrics as a picture in the work dir.

    Args:
        filename (str): The picture. Defaults to ``'learning_curves.png'``.
    """

    priority = 'LOWEST'

    def __init__(self, filename: str = 'learning_curves.png') -> None:
        self.filename = filename

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Draw them."""
        from mmvheat.visualization import plot_learning_curves

        out = osp.join(runner.work_dir, self.filename)
        title = osp.splitext(osp.basename(runner.cfg.filename))[0]
        try:
            plot_learning_curves({title: runner.work_dir}, out)
        except FileNotFoundError as error:
            runner.logger.warning(f'No learning curves were drawn: {error}')
        else:
            runner.logger.info(f'Learning curves are in {out}.')
