"""Metrics of classifiers on variants of ImageNet."""

from __future__ import annotations

import os.path as osp
import re
from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from mmvheat.datasets.imagenet_variants import class_indices, folder_classes
from mmvheat.errors import UserError

CUES = re.compile(r'([a-z]+)\d*-([a-z]+)\d*\.')


@METRICS.register_module()
class SubsetAccuracy(BaseMetric):
    """Top-1 accuracy in percent, the best of a variant's classes counting.

    Args:
        variant (str): See :mod:`mmvheat.datasets.imagenet_variants`.
        **kwargs: Arguments of :class:`BaseMetric`.
    """

    def __init__(self, variant: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.classes = torch.tensor(class_indices(variant))

    def process(self, data_batch: object, data_samples: Sequence) -> None:
        """Compare scores (1000,) with the right classes of each image."""
        for sample in data_samples:
            scores = sample['pred_score'].cpu()[self.classes]
            best = self.classes[scores.argmax()]
            self.results.append(bool((sample['gt_label'].cpu() == best).any()))

    def compute_metrics(self, results: list[bool]) -> dict[str, float]:
        """Return ``accuracy/top1``."""
        return {'accuracy/top1': 100 * sum(results) / len(results)}


@METRICS.register_module()
class ShapeBias(BaseMetric):
    """Whether shape or texture decides where the two disagree.

    The share of decisions for the shape among those for the shape or the
    texture (Geirhos et al. 2019); the score of each of the 16 classes is the
    mean over its classes of ImageNet. An image is named by its cues,
    ``airplane1-bear2.png``: the shape of an airplane, the texture of a bear.
    """

    def process(self, data_batch: object, data_samples: Sequence) -> None:
        """Decide on one of 16 classes from scores (1000,)."""
        groups = folder_classes('cue-conflict')
        for sample in data_samples:
            name = osp.basename(sample['img_path'])
            cues = CUES.match(name)
            if not cues or not {*cues.groups()} <= {*groups}:
                raise UserError(
                    f'{sample["img_path"]} does not name its shape and its '
                    'texture, such as airplane1-bear2.png; give the folder of '
                    'the cue-conflict stimuli.'
                )
            scores = sample['pred_score'].cpu()
            decision = max(groups, key=lambda n: scores[[*groups[n]]].mean())
            self.results.append((decision, *cues.groups()))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Return ``shape_bias`` and the shares, all in percent."""
        conflicts = [r for r in results if r[1] != r[2]]
        shape = sum(decision == s for decision, s, _ in conflicts)
        texture = sum(decision == t for decision, _, t in conflicts)
        return {
            'shape_bias': 100 * shape / max(1, shape + texture),
            'shape_decisions': 100 * shape / max(1, len(conflicts)),
            'texture_decisions': 100 * texture / max(1, len(conflicts)),
        }
