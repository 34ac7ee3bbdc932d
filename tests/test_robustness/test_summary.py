"""Published numbers come out of published errors."""

from __future__ import annotations

import math
from statistics import fmean

import pytest

from mmvheat.robustness.summary import (
    ALEXNET,
    ALEXNET_CLEAN,
    corruption_errors,
    mean_corruption_error,
    mean_performance,
    relative_mean_corruption_error,
    relative_performance,
)
from mmvheat.robustness.transforms import BENCHMARK, SEVERITIES

# CE of ResNet-50 in Hendrycks and Dietterich 2019, table 1, in the order of
# the paper; its clean error is 23.9, its mCE 76.7, its relative mCE 105.0.
RESNET50 = dict(
    zip(
        BENCHMARK,
        [80, 82, 83, 75, 89, 78, 80, 78, 75, 66, 57, 71, 85, 77, 77],
    )
)


def spread(mean: float) -> dict[int, float]:
    """Five values with a mean."""
    return {s: mean + 4 * (s - 3) for s in SEVERITIES}


def test_alexnet_is_the_unit() -> None:
    errors = {name: spread(value) for name, value in ALEXNET.items()}

    assert tuple(ALEXNET) == BENCHMARK
    assert mean_corruption_error(errors) == pytest.approx(100)
    relative = relative_mean_corruption_error(errors, ALEXNET_CLEAN)
    assert relative == pytest.approx(100)


def test_resnet50_has_its_published_numbers() -> None:
    errors = {
        name: spread(ce / 100 * ALEXNET[name]) for name, ce in RESNET50.items()
    }
    errors['spatter'] = spread(10)  # not among the fifteen

    assert corruption_errors(errors) == pytest.approx(RESNET50)
    # published CEs are whole percents, so that means are known to 0.5
    assert mean_corruption_error(errors) == pytest.approx(76.7, abs=0.5)
    relative = relative_mean_corruption_error(errors, 23.9)
    assert relative == pytest.approx(105.0, abs=1.5)


def test_performance_under_corruption_is_a_mean_of_means() -> None:
    # by hand: rows 0.3, 0.2; mean 0.25; of 0.5 clean: 50 %
    table = {'fog': {1: 0.4, 3: 0.3, 5: 0.2}, 'snow': {1: 0.3, 5: 0.1}}

    assert mean_performance(table) == pytest.approx(0.25)
    assert relative_performance(table, 0.5) == pytest.approx(50)
    assert math.isnan(relative_performance(table, 0))


def test_alexnet_has_the_means_that_the_paper_rounds() -> None:
    # table 1 of the paper: 88.6, 89.4, 92.3, ... 60.7
    published = [88.6, 89.4, 92.3, 82.0, 82.6, 78.6, 79.8, 86.7]
    published += [82.7, 81.9, 56.5, 85.3, 64.6, 71.8, 60.7]

    assert [*ALEXNET.values()] == pytest.approx(published, abs=0.051)
    assert fmean(ALEXNET.values()) == pytest.approx(fmean(published), abs=0.02)
