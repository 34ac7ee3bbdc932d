"""Fixtures of the tests of configs/."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmvheat.datasets.digit_scenes import make_digit_scenes

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / 'tools/analysis_tools')]


@pytest.fixture(scope='session')
def digit_scenes(few_digits, tmp_path_factory) -> Path:
    """A few digit scenes."""
    root = tmp_path_factory.mktemp('data') / 'digit_scenes'
    options = dict(num_train=8, num_val=2, variants=1, progress=False)
    with few_digits():
        make_digit_scenes(root, **options)
    return root
