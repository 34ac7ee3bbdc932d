"""What denoisers that learn nothing reach: references of a comparison.

Each function takes the config of a restorer, of which it uses test data and
metrics, and returns a title and the metrics as a test names them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS

from .image_quality import prepare_image


def measure_noisy(cfg: Config, metric: str) -> tuple[str, dict[str, float]]:
    """Measure the test images as they are, rounded and clipped to 0 to 255."""
    samples = DATASETS.build(cfg.test_dataloader.dataset)
    return 'noisy', _measure(cfg, samples, lambda image: image)


def measure_opencv(
    cfg: Config, metric: str, strengths: Sequence[float]
) -> tuple[str, dict[str, float]]:
    """Measure OpenCV's denoiser, with the h of ``strengths`` that is best.

    Best by ``metric``, on these very images, rounded and clipped as above.
    """
    samples, by_h = list(DATASETS.build(cfg.test_dataloader.dataset)), {}
    for h in strengths:
        restore = partial(cv2.fastNlMeansDenoising, h=h)
        by_h[h] = _measure(cfg, samples, restore)
    best = max(by_h, key=lambda h: by_h[h][metric])
    return f'OpenCV, non-local means, h = {best}', by_h[best]


def _measure(
    cfg: Config, samples: Sequence[dict], restore: Callable
) -> dict[str, float]:
    evaluator = Evaluator(cfg.test_evaluator)
    for sample in samples:
        image = prepare_image(sample['inputs']).astype(np.uint8)
        restored = restore(image).reshape(image.shape)  # gray came as (H, W)
        result = sample['data_samples'].clone()
        result.pred = torch.from_numpy(restored).permute(2, 0, 1)
        evaluator.process([result])
    return evaluator.evaluate(len(samples))
