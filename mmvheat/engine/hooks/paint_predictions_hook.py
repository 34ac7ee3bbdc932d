"""Paint what a model predicts beside what is true."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Sequence

import mmcv
import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement


@HOOKS.register_module()
class PaintPredictionsHook(Hook):
    """Write one picture per test image: ground truth left, prediction right.

    The visualizer of the config does the painting, so it works for boxes,
    masks and label maps; for a classifier the picture carries both labels.

    Args:
        out_dir (str): The folder to fill. Images in sub-folders keep them
            as a part of the file name.
        score_thr (float): The least score of a box or mask painted.
            Defaults to 0.3.
        limit (int, optional): The most pictures each process writes.
            Defaults to None, which is all.
    """

    priority = 'LOW'

    def __init__(
        self, out_dir: str, score_thr: float = 0.3, limit: int | None = None
    ) -> None:
        self.out_dir = osp.abspath(out_dir)
        self.score_thr = score_thr
        self.limit = limit
        self.painted = 0

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Paint the samples of a batch."""
        for sample in outputs:
            if self.limit is not None and self.painted >= self.limit:
                return
            self.painted += 1
            self._paint(runner, sample)

    def _paint(self, runner: Runner, sample: BaseDataElement) -> None:
        image = mmcv.imread(sample.img_path, channel_order='rgb')
        name = osp.splitext(self._relative_name(runner, sample.img_path))[0]
        out_file = osp.join(self.out_dir, f'{name}.png')
        os.makedirs(self.out_dir, exist_ok=True)
        visualizer = runner.visualizer
        if 'pred_label' in sample or 'pred_score' in sample:
            visualizer.visualize_cls(
                image,
                sample,
                rescale_factor=_enlarge(image),
                out_file=out_file,
            )
            return
        arguments = {}
        if 'pred_instances' in sample:
            arguments['pred_score_thr'] = self.score_thr
        visualizer.add_datasample(
            name, image, data_sample=sample, out_file=out_file, **arguments
        )

    @staticmethod
    def _relative_name(runner: Runner, path: str) -> str:
        root = getattr(runner.test_dataloader.dataset, 'data_prefix', {})
        folder = root.get('img') or root.get('img_path') or osp.dirname(path)
        name = osp.relpath(path, folder)
        if name.startswith('..'):
            name = osp.basename(path)
        return name.replace(os.sep, '_')


def _enlarge(image: np.ndarray) -> float:
    """The factor that makes the labels on a small image legible."""
    return max(1.0, 224 / max(image.shape[:2]))
