"""One number for many: mCE of classifiers, mPC and rPC of anything.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019; Michaelis et al., "Benchmarking
Robustness in Object Detection", 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

Table = Mapping[str, Mapping[float, float]]
"""Values by name and severity."""

ALEXNET_CLEAN = 43.5
ALEXNET = {
    'gaussian_noise': 88.6428,
    'shot_noise': 89.4468,
    'impulse_noise': 92.2640,
    'defocus_blur': 81.9880,
    'glass_blur': 82.6268,
    'motion_blur': 78.5948,
    'zoom_blur': 79.8360,
    'snow': 86.6816,
    'frost': 82.6572,
    'fog': 81.9324,
    'brightness': 56.4592,
    'contrast': 85.3204,
    'elastic_transform': 64.6056,
    'pixelate': 71.7840,
    'jpeg_compression': 60.6500,
}
"""Top-1 error of AlexNet in percent, the mean over severities 1 to 5."""


def corruption_errors(errors: Table) -> dict[str, float]:
    """Compute CE: the error summed over severities, relative to AlexNet's.

    Args:
        errors (Table): Top-1 errors in percent of all five severities.

    Returns:
        dict[str, float]: Percent, of the corruptions that have one.
    """
    return {
        name: 100 * fmean(errors[name].values()) / ALEXNET[name]
        for name in ALEXNET
        if name in errors
    }


def mean_corruption_error(errors: Table) -> float:
    """Compute mCE in percent, the mean of :func:`corruption_errors`."""
    return fmean(corruption_errors(errors).values())


def relative_mean_corruption_error(errors: Table, clean: float) -> float:
    """Compute the relative mCE in percent.

    Args:
        errors (Table): Top-1 errors in percent of all five severities.
        clean (float): Top-1 error in percent without corruption.
    """
    return fmean(
        100
        * (fmean(errors[name].values()) - clean)
        / (alexnet - ALEXNET_CLEAN)
        for name, alexnet in ALEXNET.items()
        if name in errors
    )


def mean_performance(values: Table) -> float:
    """Compute mPC: over corruptions, the mean over severities of each."""
    return fmean(fmean(row.values()) for row in values.values())


def relative_performance(values: Table, clean: float) -> float:
    """Compute rPC in percent: mPC by the value without corruption."""
    return 100 * mean_performance(values) / clean if clean else float('nan')
