"""How near a restored image is to the clean one: PSNR and SSIM.

The conventions of the field: images are rounded to 0 ... 255 first, a border
is cut off where asked for, color images are measured on all channels or on
the luma Y of BT.601 in MATLAB's range (16 to 235).
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


def compute_psnr(image: np.ndarray, clean: np.ndarray) -> float:
    """Compute the peak signal-to-noise ratio.

    Args:
        image (np.ndarray): In 0 to 255, of any shape.
        clean (np.ndarray): In the same shape.

    Returns:
        float: 10 log10(255^2 / MSE) in dB; infinite for equal images.
    """
    error = np.mean((image.astype(float) - clean.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float('inf')


def compute_ssim(image: np.ndarray, clean: np.ndarray) -> float:
    """Compute the structural similarity (Wang et al., 2004).

    A Gaussian window of 11x11 pixels, sigma 1.5, where it lies inside the
    image; K1 = 0.01, K2 = 0.03, data range 255; mean over the channels.

    Args:
        image (np.ndarray): In 0 to 255, (H, W, C), at least 11x11.
        clean (np.ndarray): In the same shape.

    Returns:
        float: At most 1, which is that of equal images.

    Raises:
        ValueError: The images are smaller.
    """
    import cv2

    if min(image.shape[:2]) < 11:
        raise ValueError(
            f'SSIM needs images of at least 11x11 pixels, but got one of '
            f'{image.shape[1]}x{image.shape[0]}'
        )

    def mean(values: np.ndarray) -> np.ndarray:
        blurred = cv2.GaussianBlur(values, (11, 11), 1.5)
        return blurred[5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for channel in range(image.shape[2]):
        x = image[..., channel].astype(float)
        y = clean[..., channel].astype(float)
        mean_x, mean_y = mean(x), mean(y)
        product = mean_x * mean_y
        squares = mean_x**2 + mean_y**2
        covariance = mean(x * y) - product
        variances = mean(x * x) + mean(y * y) - squares
        ratio = (2 * product + c1) * (2 * covariance + c2)
        values.append(ratio / ((squares + c1) * (variances + c2)))
    return float(np.mean(values))


def prepare_image(
    image: torch.Tensor | np.ndarray, crop_border: int = 0, luma: bool = False
) -> np.ndarray:
    """Round an image and cut off its border.

    Args:
        image (Tensor | np.ndarray): (C, H, W) in 0 to 255, RGB or gray.
        crop_border (int): Pixels of the border to leave out.
        luma (bool): Measure RGB on Y of BT.601, not rounded again.

    Returns:
        np.ndarray: (H', W', C) float64.
    """
    image = torch.as_tensor(image).detach().cpu().double().numpy()
    image = np.moveaxis(image.round().clip(0, 255), 0, -1)
    if luma and image.shape[-1] == 3:
        from mmvheat.datasets.restoration_transforms import to_luma

        image = to_luma(image)
    if crop_border:
        inside = slice(crop_border, -crop_border)
        image = image[inside, inside]
    return image


class _ImageMetric(BaseMetric):
    """The mean of a measure over the images of every data set.

    Args:
        crop_border (int): Pixels of the border to leave out; in
            super-resolution the field leaves out the factor. Defaults to 0.
        luma (bool): Measure RGB on the luma Y. Defaults to False.
        collect_device (str): As of mmengine's ``BaseMetric``.
        prefix (str, optional): Takes the place of the data set's name where
            there is one data set. Defaults to None.
    """

    default_prefix = ''  # the data set's name stands there

    def __init__(
        self,
        crop_border: int = 0,
        luma: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.crop_border, self.luma = crop_border, luma

    def process(self, data_batch: object, data_samples: Sequence) -> None:
        """Measure ``pred`` of samples against ``gt``."""
        for sample in data_samples:
            images = [
                prepare_image(sample[key], self.crop_border, self.luma)
                for key in ('pred', 'gt')
            ]
            name = sample.get('dataset_name', '')
            self.results.append((name, self.measure(*images)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Mean over the images of every data set."""
        by_name = defaultdict(list)
        for name, value in results:
            by_name[name].append(value)
        key = type(self).__name__
        if len(by_name) == 1 and (self.prefix or '' in by_name):
            (values,) = by_name.values()
            return {key: statistics.mean(values)}
        return {
            f'{name}/{key}': statistics.mean(values)
            for name, values in by_name.items()
        }


@METRICS.register_module()
class PSNR(_ImageMetric):
    """Peak signal-to-noise ratio in dB; arguments of ``_ImageMetric``."""

    measure = staticmethod(compute_psnr)


@METRICS.register_module()
class SSIM(_ImageMetric):
    """Structural similarity; arguments of ``_ImageMetric``."""

    measure = staticmethod(compute_ssim)
